# If this fails, two employees (or a retrying client) refund more than was paid,
# a payment is captured and cancelled at once, or a webhook and the API answer
# that says the same post the money twice.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $node = new_payments_node('races', conf => "deadlock_timeout = 1s");
my $peer = start_peer();
create_stripe_psp($node, $peer);
fast_schedules($node);

sub count_of { my ($pattern, @results) = @_; return scalar grep { $_->{stderr} =~ $pattern } @results }
my $VERBOSE = "\\set VERBOSITY verbose\n";

# ---------- 50 refunds of 60 on a capture of 100
foreach my $level ('read committed', 'repeatable read', 'serializable')
{
	my $id = create_payment($node, idempotency_key => "refund-race-$level", amount => 100);
	is(outcome($node, $id), 'succeeded', "$level: captured 100");
	my @results = many_sessions(
		$node, 50,
		sub {
			"$VERBOSE BEGIN ISOLATION LEVEL $level;\nSELECT status FROM payments.refund_payment('$id', 'refund-race-$level-$_[0]', 60);\nCOMMIT;";
		});
	my $through = grep { $_->{code} == 0 } @results;
	my $over    = count_of(qr/ERROR:  PY007/, @results);
	my $again   = count_of(qr/ERROR:  40001/, @results);
	if ($level eq 'read committed')
	{
		is("$through $over", '1 49', "$level: of 50 refunds of 60 one goes through, 49 are refused as too much");
	}
	else
	{
		# 40001 asks the client to say it again; more than one through would be money lost.
		is($through + $over + $again, 50, "$level: each goes through, is too much, or is to be tried again");
		is($through, 1, "$level: one goes through ($over too much, $again to be tried again)");
	}
	at_rest($node);
	is(value($node, "SELECT captured, refunded, refund_pending FROM payments.payment WHERE payment_id = '$id'"), '100|60|0', "$level: 60 refunded");
}
is(scalar @{ $peer->book->{refunds} }, 3, 'one refund each in the PSP\'s book');
check_clean($node, 'refunds: check() is clean');

# ---------- capture against cancel
my $ROUNDS = 25;
my @ids = map { create_payment($node, idempotency_key => "cc-$_", amount => 1000 + $_, capture => 'manual') } 0 .. $ROUNDS - 1;
at_rest($node);
my @results = many_sessions(
	$node,
	2 * $ROUNDS,
	sub {
		my $id = $ids[ $_[0] >> 1 ];
		$_[0] & 1
		  ? "$VERBOSE SELECT * FROM payments.capture_payment('$id', 'cc-capture-$_[0]');"
		  : "$VERBOSE SELECT * FROM payments.cancel_payment('$id', 'cc-cancel-$_[0]');";
	});
my $both = grep { $results[ 2 * $_ ]{code} == 0 && $results[ 2 * $_ + 1 ]{code} == 0 } 0 .. $ROUNDS - 1;
my $none = grep { $results[ 2 * $_ ]{code} != 0 && $results[ 2 * $_ + 1 ]{code} != 0 } 0 .. $ROUNDS - 1;
is("$both $none", '0 0', "capture against cancel, $ROUNDS times: exactly one of the two is accepted");
is(count_of(qr/ERROR:  PY00[68]/, @results), $ROUNDS, 'the other is told why');
at_rest($node);
my $taken = value($node, q{SELECT count(*) FROM payments.payment p JOIN payments.idempotency_key k ON k.payment_id = p.payment_id AND k.key ~ '^cc-[0-9]' WHERE p.status = 'succeeded'});
note("$taken captured, " . ($ROUNDS - $taken) . ' cancelled');
is( value($node, q{SELECT count(*) FROM payments.payment p JOIN payments.idempotency_key k ON k.payment_id = p.payment_id AND k.key ~ '^cc-[0-9]'
		WHERE p.status = 'cancelled' AND p.captured = 0 OR p.status = 'succeeded' AND p.captured = p.amount}),
	$ROUNDS, 'each is captured or cancelled');
check_clean($node, 'capture against cancel: check() is clean');

# ---------- cancel against dispatch: the cancel comes some microseconds after the commit that wakes the worker
@results = many_sessions(
	$node,
	$ROUNDS,
	sub {
		my $wait = $_[0] * 0.0007;
		'SELECT payment_id FROM '
		  . PaymentsTest::create_payment_sql(idempotency_key => "cd-$_[0]", amount => 2000 + $_[0])
		  . " \\gset\nSELECT pg_sleep($wait) \\g /dev/null\n$VERBOSE SELECT status FROM payments.cancel_payment(:'payment_id', 'cd-cancel-$_[0]');";
	});
at_rest($node);
is(count_of(qr/ERROR:  (?!PY00[68])/, @results), 0, 'cancel against dispatch: accepted, too late, or told that a call is in flight');
my $cancelled = value($node, q{SELECT count(*) FROM payments.payment WHERE amount BETWEEN 2000 AND 2999 AND status = 'cancelled'});
note("$cancelled of $ROUNDS cancelled before dispatch");
my %charged = map { $_->{payments_ref} => 1 } $peer->charges;
my @wrong = grep { my ($status, $ref) = split /\|/; ($status eq 'succeeded') != exists $charged{$ref} }
  split /\n/, value($node, q{SELECT p.status, o.psp_ref FROM payments.payment p JOIN payments.operation o ON o.payment_id = p.payment_id AND o.kind = 'charge' WHERE p.amount BETWEEN 2000 AND 2999});
is_deeply(\@wrong, [], 'charged at the PSP if and only if it succeeded here');
is( value($node, q{SELECT count(*) FROM payments.payment WHERE amount BETWEEN 2000 AND 2999 AND status IN ('cancelled', 'succeeded')}), $ROUNDS, 'nothing is left half done');
check_clean($node, 'cancel against dispatch: check() is clean');

# ---------- webhook against API answer
my $N = 30;
$peer->faults({ fault => 'hold', method => 'POST' });
$node->safe_psql('postgres', join ";\n", map { 'SELECT FROM ' . PaymentsTest::create_payment_sql(idempotency_key => "wa-$_", amount => 3000 + $_) } 1 .. $N);
$peer->wait_held($N);
my @events = grep { $_->{body} =~ /"amount":30\d\d\b/ } $peer->events(type => 'payment_intent.succeeded');
is(scalar @events, $N, "the PSP has charged $N, and has not answered yet");
# Each event twice, from two sessions: a third while no answer has come, the others about when they all come.
my $EARLY = $N / 3;
my @twice = map { my $event = $_; sub { PaymentsTest::webhook_sql($event) . ';' } } @events, @events;
@results = many_sessions($node, 2 * $EARLY, sub { $twice[ $_[0] % $EARLY ]->() });
is(value($node, q{SELECT count(*) FROM payments.payment WHERE amount BETWEEN 3001 AND 3999 AND status = 'succeeded'}), $EARLY, "$EARLY webhooks come before the answer");
push @results, many_sessions($node, 2 * ($N - $EARLY),
	sub { my $i = $_[0] % ($N - $EARLY); my $wait = $i % 5 * 0.01; "SELECT pg_sleep($wait) \\g /dev/null\n" . $twice[ $EARLY + $i ]->() },
	meanwhile => sub { $peer->release });
is(scalar(grep { $_->{code} == 0 } @results), 2 * $N, 'each delivery is accepted') or diag(map { $_->{stderr} } @results);
is(scalar(grep { $_->{stdout} =~ /\|f\|/ } @results), $N, 'one of two is the first, the other a duplicate');
at_rest($node);
# The webhooks may have emptied the queue while answers were still to come.
ok( wait_until($node, q{SELECT count(*) FROM payments.attempt_answer w JOIN payments.operation o USING (operation_id) WHERE o.amount BETWEEN 3001 AND 3999}, $N),
	'all answers came');
is( value($node, q{SELECT count(*) FROM payments.payment WHERE amount BETWEEN 3001 AND 3999 AND status = 'succeeded' AND captured = amount}), $N, 'all succeeded');
is( value($node, q{SELECT count(*), count(DISTINCT t.payment_id) FROM payments.posting t JOIN payments.payment p USING (payment_id) WHERE p.amount BETWEEN 3001 AND 3999 AND t.kind = 'capture'}),
	"$N|$N", 'one posting each');
is( value($node, q{SELECT count(*) FROM payments.posting t JOIN payments.payment p USING (payment_id) WHERE p.amount BETWEEN 3001 AND 3999 AND t.kind = 'fee'}),
	$N, 'one fee each: the late answer told it');
my $by = value($node, q{SELECT string_agg(s.source || ' ' || s.n, ', ' ORDER BY 1) FROM (SELECT h.source, count(*) AS n FROM payments.payment_status h JOIN payments.payment p USING (payment_id)
	WHERE p.amount BETWEEN 3001 AND 3999 AND h.status = 'succeeded' GROUP BY 1) s});
note("succeeded by: $by");
check_clean($node, 'webhook against answer: check() is clean');

# ---------- 100 sessions, one key
@results = many_sessions($node, 100,
	sub { 'SELECT payment_id, status, replayed FROM ' . PaymentsTest::create_payment_sql(idempotency_key => 'one-key', amount => 4321) . ';' });
my %ids;
my $first = 0;
foreach my $result (@results)
{
	my ($id, $status, $replayed) = split /\|/, $result->{stdout};
	# How it stands when each of them asks is another matter.
	$ids{ ($id // '?') . "|" . (defined $status ? '' : $result->{stderr}) }++;
	$first++ if ($replayed // '') eq 'f';
}
is(scalar keys %ids, 1, '100 sessions with one key: one payment') or diag(explain(\%ids));
is($first, 1, 'one of them was the first');
at_rest($node);
is(scalar(grep { $_->{amount} == 4321 } $peer->charges), 1, 'charged once');
is($peer->book(brief => 1)->{keys}{keys_with_many_bodies}, 0, 'no key was sent with other bytes');
check_clean($node, 'one key: check() is clean');
log_lacks_deadlocks($node);
$node->stop;
done_testing();
