# If this fails, a PSP (or something that stands in its place) that answers
# nonsense makes us believe that a payment succeeded or failed when it did not,
# or brings the worker down and with it every other payment.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my @FAULTS = qw(truncated_json big_body nul_in_json bad_utf8 deep_json huge_amount duplicate_fields wrong_id
  garbage empty_body garbage_http drip endless_headers);

my $node = new_payments_node('bad_answers');
my $peer = start_peer();
create_stripe_psp($node, $peer);
# Bytes that drip are ended by the timeout alone: they have a PSP of their own, with a short one.
create_stripe_psp($node, $peer, psp => 'dripping', timeout => '3 s');
fast_schedules($node, tries => 8);

sub worker_memory
{
	my $pid = value($node, 'SELECT pid FROM payments.worker_status');
	my ($kb) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return ($pid, $kb);
}

# One of each kind whose first answer alone is bad, and one whose every answer is, inquiries too.
stop_worker($node);
my (%once, %always, @rules);
foreach my $fault (@FAULTS)
{
	my @psp = (psp => $fault eq 'drip' ? 'dripping' : 'stripe');
	$once{$fault}   = create_payment($node, idempotency_key => "once-$fault",   amount => 1000 + keys %once, @psp);
	$always{$fault} = create_payment($node, idempotency_key => "always-$fault", amount => 2000 + keys %always, @psp);
	my ($once_ref, $always_ref) =
	  map { value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$_'") } $once{$fault}, $always{$fault};
	my @slowly = $fault eq 'drip' ? (ms => 100) : ();
	push @rules, { fault => $fault, ref => $once_ref, method => 'POST', count => 1, @slowly }, { fault => $fault, ref => $always_ref, @slowly };
}
my @healthy = map { create_payment($node, idempotency_key => "healthy-$_", amount => 3000 + $_) } 1 .. 30;
$peer->faults(@rules);
value($node, 'SELECT payments.start_worker()');
ok(wait_until($node, 'SELECT running FROM payments.worker_status'), 'the worker runs');
my ($pid, $before) = worker_memory();

foreach my $payment (@healthy) { outcome($node, $payment) }
is(value($node, q{SELECT count(*) FROM payments.payment WHERE amount BETWEEN 3000 AND 3999 AND status = 'succeeded'}), 30, 'healthy payments go through meanwhile');
at_rest($node);

foreach my $fault (@FAULTS)
{
	my $status = value($node, "SELECT p.status || coalesce('/' || d.reason, '') FROM payments.payment p LEFT JOIN payments.dead_letter d ON d.payment_id = p.payment_id WHERE p.payment_id = '$once{$fault}'");
	# What names another payment or another amount is not looked past: a person must.
	like($status, qr{^(?:succeeded|in_doubt/conflicted)$}, "$fault once: $status");
	$status = value($node, "SELECT p.status || '/' || coalesce(d.reason, '') FROM payments.payment p LEFT JOIN payments.dead_letter d ON d.payment_id = p.payment_id WHERE p.payment_id = '$always{$fault}'");
	like($status, qr{^in_doubt/(?:outcome_unknown|conflicted)$}, "$fault always: $status");
}
is(value($node, q{SELECT count(*) FROM payments.payment WHERE status = 'failed'}), 0, 'nothing was taken for failed');
is(value($node, q{SELECT count(*) FROM payments.movement m JOIN payments.payment p USING (payment_id) WHERE m.kind = 'capture' AND m.amount <> p.amount}), 0, 'nothing was captured with another amount');
is_deeply($peer->book(brief => 1)->{double_charged}, [], 'nobody was charged twice');
is($peer->book(brief => 1)->{keys}{keys_with_many_bodies}, 0, 'no key was sent with other bytes');
my ($pid_after, $after) = worker_memory();
is($pid_after, $pid, 'the worker is the same process');
SKIP: {
	skip 'a sanitizer keeps what was freed', 1 if ($ENV{PAY_BUILD} // '') eq 'sanitize';
	cmp_ok($after - $before, '<', 64 * 1024, "its memory has grown by little ($before kB, $after kB)");
}
check_clean($node, 'bad answers: check() is clean');

# ---------- when the PSP has come to its senses
$peer->faults;
value($node, q{SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE decision IS NULL});
at_rest($node);
is(value($node, q{SELECT count(*) FROM payments.payment WHERE status <> 'succeeded'}), 0, 'redriven, all succeed')
  or diag(value($node, q{SELECT p.status, k.key, d.reason, d.detail FROM payments.payment p JOIN payments.idempotency_key k USING (payment_id) LEFT JOIN payments.dead_letter d ON d.payment_id = p.payment_id WHERE p.status <> 'succeeded'}));
is_deeply($peer->book(brief => 1)->{double_charged}, [], 'and nobody was charged twice');
is(scalar($peer->charges), 30 + 2 * @FAULTS, 'all once');
check_clean($node, 'redriven: check() is clean');

# ---------- a 500 that the PSP keeps under the key for ever
$peer->faults({ fault => 'status_500', method => 'POST', path => '^/v1/payment_intents$' });
my $id = create_payment($node, idempotency_key => 'stored-500', amount => 4000);
ok(wait_until($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$id'", 'outcome_unknown'), 'a stored 500 ends as a dead letter');
is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$id'"), 'in_doubt', 'and is not taken for a failure');
is(value($node, "SELECT count(DISTINCT psp_key) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'"), 1, 'never sent under another key');
is(value($node, "SELECT count(*) FROM payments.stuck WHERE payment_id = '$id'"), 1, 'it stands in the view that people read');
value($node, "SELECT payments.discard(dead_letter_id, 'no charge on the dashboard') FROM payments.dead_letter WHERE payment_id = '$id'");
is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$id'"), 'failed', 'a person may say that it did not happen');
check_clean($node, 'stored 500: check() is clean');

# ---------- a PSP that honours no keys: only asking before sending again is safe
$peer->control({ reset => JSON::PP::true(), settings => { honour_keys => JSON::PP::false() } });
# Answers to inquiries are not lost: a run of them ends in the dead letters, as it should, and is tested above.
$peer->faults({ fault => 'lose_answer', p => 0.5, method => 'POST' }, { fault => 'status_429', p => 0.1, method => 'POST' });
create_payment($node, idempotency_key => "no-keys-$_", amount => 5000 + $_) foreach 1 .. 30;
at_rest($node);
is(value($node, q{SELECT count(*) FROM payments.payment WHERE amount BETWEEN 5000 AND 5999 AND status = 'succeeded'}), 30, 'without honoured keys: all succeed')
  or diag(value($node, q{SELECT p.status, d.reason FROM payments.payment p LEFT JOIN payments.dead_letter d USING (payment_id) WHERE p.amount BETWEEN 5000 AND 5999 AND p.status <> 'succeeded'}));
my $book = $peer->book;
cmp_ok($book->{faults}{lose_answer}, '>=', 5, 'although answers were lost');
is_deeply($book->{double_charged}, [], 'nobody was charged twice');
is(scalar @{ $book->{charges} }, 30, '30 charges');
check_clean($node, 'no keys: check() is clean');

# ---------- a firewall's page in place of the PSP's answer, which had charged
$peer->control({ reset => JSON::PP::true(), settings => { honour_keys => JSON::PP::true() } });
no_inquiries($node);
my %page;
foreach my $status (401, 403)
{
	$peer->faults({ fault => "status_$status", page => JSON::PP::true(), perform => JSON::PP::true(), method => 'POST', count => 1 });
	$page{$status} = create_payment($node, idempotency_key => "page-$status", amount => 6000 + $status);
	ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$page{$status}'", 'in_doubt'), "a page with status $status: nobody knows");
	is(value($node, "SELECT action || ' ' || (o.key_used_at IS NOT NULL) FROM payments.queue JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$page{$status}'"),
		'inquire true', "$status: the PSP is asked, and its key counts as used");
	is(value($node, 'SELECT count(*) FROM payments.psp WHERE halted_at IS NOT NULL'), 0, "$status: it stops nobody else's payments");
	is(outcome($node, create_payment($node, idempotency_key => "after-$status", amount => 7000 + $status)), 'succeeded', "$status: the next one goes through");
}
$peer->faults({ fault => 'status_429', page => JSON::PP::true(), perform => JSON::PP::true(), method => 'POST', count => 1 });
$page{429} = create_payment($node, idempotency_key => 'page-429', amount => 6429);
is(outcome($node, $page{429}), 'succeeded', 'a page that says there are too many calls: asked, the PSP tells of the charge');
is(value($node, "SELECT string_agg(a.action || ':' || r.class, ' ' ORDER BY attempt) FROM payments.attempt a JOIN payments.attempt_answer r USING (operation_id, attempt) JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$page{429}'"),
	'send:unknown inquire:approved', 'and it was not sent again');
is(sqlstate($node, "SELECT payments.cancel_payment('$page{403}', 'page-cancel')"), 'PY008', 'what may be charged is not cancelled');
fast_schedules($node, tries => 8);
$peer->control({ forget_keys => JSON::PP::true() });
value($node, 'UPDATE payments.queue SET due_at = now()');
at_rest($node);
is(value($node, "SELECT string_agg(status, ' ') FROM payments.payment WHERE payment_id IN ('$page{401}', '$page{403}')"), 'succeeded succeeded', 'asked, the PSP tells of the charges');
is_deeply($peer->book(brief => 1)->{double_charged}, [], 'and nobody was charged twice');
check_clean($node, 'pages: check() is clean');

# ---------- answers that say how long they are in another way, or not at all
foreach my $case ([ 'chunked', 'send:approved' ], [ 'no_length', 'send:unknown inquire:approved' ])
{
	my ($fault, $calls) = @$case;

	$peer->faults({ fault => $fault, method => 'POST', count => 1 });
	my $framed = create_payment($node, idempotency_key => $fault, amount => 8000);
	is(outcome($node, $framed), 'succeeded', "$fault: it succeeds");
	is(value($node, "SELECT string_agg(a.action || ':' || r.class, ' ' ORDER BY attempt) FROM payments.attempt a JOIN payments.attempt_answer r USING (operation_id, attempt) JOIN payments.operation o USING (operation_id) WHERE o.payment_id = '$framed'"),
		$calls, $fault eq 'chunked' ? 'at once' : 'when it was asked: what may have been cut counts as no answer');
}
check_clean($node, 'framed otherwise: check() is clean');

log_lacks_deadlocks($node);
$node->stop;
done_testing();
