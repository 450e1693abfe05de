# If this fails, one PSP that is dead, slow or hostile keeps the payments of
# others waiting or eats the server's memory; or a list that cannot be read
# stops payments, or the other way round.
#
# How much later the others are answered is noted, and judged by nobody here:
# that depends on the machine.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP ();
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;

my @FAULTS = qw(reset_before lose_answer cut_answer hang status_429 status_500 status_502 delay_ms truncated_json big_body nul_in_json
  bad_utf8 deep_json duplicate_fields huge_amount garbage garbage_http empty_body drip endless_headers);
# A 500 that is kept under its key says the same for ever: t/bad_answers.pl has that.
my %OPTIONS = (drip => { ms => 100 }, delay_ms => { ms => 100 }, status_500 => { stored => JSON::PP::false() });
my $HOSTILE = 60;
my $GOOD    = 60;

my $node = new_payments_node('degradation');
my $good = start_peer();
my $bad  = start_peer();
create_stripe_psp($node, $good);
create_stripe_psp($node, $bad, psp => 'hostile', timeout => '1 s');
$node->safe_psql('postgres', q{SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed});
fast_schedules($node);

# Each request meets one of them, whichever: so all go on at once.
my @rules = map { +{ fault => $FAULTS[$_], p => 1 / (@FAULTS - $_), %{ $OPTIONS{ $FAULTS[$_] } // {} } } } 0 .. $#FAULTS;

sub create_payments
{
	my ($psp, $name, $n) = @_;

	$node->safe_psql('postgres', "SELECT FROM generate_series(1, $n) i, LATERAL payments.create_payment(idempotency_key => '$name-' || i,
		amount => 1000, currency => 'EUR', psp => '$psp', payment_method => 'pm_card_visa')");
	return;
}

sub wait_succeeded
{
	my ($name, $n, $what) = @_;

	return ok(wait_until($node, "SELECT count(*) FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id)
		WHERE k.key LIKE '$name-%' AND p.status = 'succeeded'", $n), $what);
}

sub p99
{
	my ($name) = @_;

	return value($node, "SELECT round(1000 * percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM o.completed_at - o.created_at)))
		FROM payments.operation o JOIN payments.idempotency_key k USING (payment_id) WHERE k.key LIKE '$name-%'");
}

sub worker
{
	my $pid = value($node, 'SELECT pid FROM payments.worker_status');
	my ($kb) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return ($pid, $kb);
}

# ---------- alone
foreach my $round (0 .. 3)
{
	create_payments('stripe', $round ? "alone-$round" : 'first', $GOOD / 3);
	wait_succeeded($round ? "alone-$round" : 'first', $GOOD / 3, "a good PSP alone, round $round");
}
my ($pid, $before) = worker();

# ---------- beside a hostile one
$bad->faults(@rules);
create_payments('hostile', 'hostile', $HOSTILE);
foreach my $round (1 .. 3)
{
	create_payments('stripe', "beside-$round", $GOOD / 3);
	wait_succeeded("beside-$round", $GOOD / 3, "the good one goes on beside one that does everything wrong, round $round");
}
isnt(value($node, q{SELECT count(*) FROM payments.payment WHERE psp = 'hostile' AND status <> 'succeeded'}), 0, 'which has not answered well meanwhile');
is(value($node, q{SELECT state FROM payments.psp_status WHERE psp = 'stripe'}), 'good', 'nobody blames the good one');
isnt(value($node, q{SELECT failures FROM payments._health_of('hostile')}), 0, 'but the other');
note('p99 of the good PSP in milliseconds: alone ' . p99('alone') . ', beside the hostile one ' . p99('beside'));
ok(wait_until($node, qq{SELECT count(*) >= $HOSTILE FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE psp = 'hostile'}, 't'), 'the hostile one has answered as often as it likes');
my ($pid_after, $after) = worker();
is($pid_after, $pid, 'the worker is the same process');
note("the worker's memory: $before kB, then $after kB");
SKIP: {
	skip 'a sanitizer keeps what was freed', 1 if ($ENV{PAY_BUILD} // '') eq 'sanitize';
	cmp_ok($after - $before, '<', 32 * 1024, 'and has grown by less than 32 MB');
}
my $met = $bad->book(brief => 1)->{faults} // $bad->book->{faults};
cmp_ok(scalar(grep { $met->{$_} } @FAULTS), '>=', 16, 'at least sixteen kinds of misbehaviour were met');
is_deeply($bad->book(brief => 1)->{double_charged}, [], 'nobody was charged twice');
check_clean($node, 'check() is clean');

# ---------- it comes to its senses
$bad->faults;
value($node, q{SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE decision IS NULL});
at_rest($node);
is(value($node, q{SELECT count(*) FROM payments.payment WHERE status <> 'succeeded'}), 0, 'then all its payments succeed');
is(scalar($bad->charges), $HOSTILE, 'charged once each');

# ---------- lists that cannot be read stop no payment
$node->safe_psql('postgres', q{UPDATE payments.psp SET timeout = '2 s' WHERE psp = 'stripe'});
$good->faults({ fault => 'hang', method => 'GET', path => '^/v1/(?:events|balance_transactions)' });
$node->safe_psql('postgres', q{SELECT payments.enable_feed('stripe', feed, true) FROM payments.psp_feed WHERE psp = 'stripe'});
ok(wait_until($node, q{SELECT count(*) FROM payments.psp_feed WHERE psp = 'stripe' AND claimed_by IS NOT NULL}, qr/[1-9]/), 'lists hang');
create_payments('stripe', 'lists', 10);
wait_succeeded('lists', 10, 'payments of that PSP go on');

# ---------- and payments that hang stop no list
$good->faults({ fault => 'hold', method => 'POST' });
ok(wait_until($node, q{SELECT count(*) FROM payments.psp_feed WHERE psp = 'stripe' AND claimed_by IS NOT NULL}, 0), 'they are given up');
$node->safe_psql('postgres', q{UPDATE payments.psp SET timeout = '10 min'; SELECT payments._wake_worker()});
create_payments('stripe', 'held', 10);
$good->wait_held(10);
my $read = q{SELECT sum(attempt) FROM payments.psp_feed WHERE psp = 'stripe'};
my $pages = value($node, $read);
$node->safe_psql('postgres', q{UPDATE payments.psp_feed SET due_at = now() WHERE psp = 'stripe' AND claimed_by IS NULL; SELECT payments._wake_worker()});
ok(wait_until($node, "SELECT ($read) > $pages", 't'), 'lists are read while payments hang');
$good->release;
$good->faults;
wait_succeeded('held', 10, 'which are answered in the end');

check_clean($node, 'and check() is clean');
$node->stop;
done_testing();
