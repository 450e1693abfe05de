# If this fails, a PSP that dies takes the payments with it that another one
# could have, one of them is charged at both, or the first is never called again
# once it is back.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $node = new_payments_node('routing');
my $peer_a = start_peer();
my $peer_b = start_peer();
create_stripe_psp($node, $peer_a, psp => 'a');
create_stripe_psp($node, $peer_b, psp => 'b');
value($node, q{SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed;
	SELECT payments.create_route_rule('cards', '{a,b}', '{1,0}', payment_method => 'pm_*')});
fast_schedules($node);

# Where nobody listens.
my $nobody = start_peer();
my $gone   = $nobody->url;
$nobody->stop;

sub a_is_at
{
	my ($url) = @_;

	return value($node, sprintf 'SELECT payments.create_psp(%s, %s, base_url => %s, force => true)', map { sql_literal($_) } 'a', 'stripe', $url);
}

# So many that name no PSP; returns where they were sent first.
sub pay
{
	my ($name, $n) = @_;

	value($node, "SELECT count(*) FROM generate_series(1, $n) i, LATERAL payments.create_payment('$name-' || i, 1000, 'EUR', payment_method => 'pm_card_visa')");
	return value($node, "SELECT p.route ->> 'psp', count(*) FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id) WHERE k.key LIKE '$name-%' GROUP BY 1 ORDER BY 1");
}

# Every payment has one charge, in the books of both together.
sub books_agree
{
	my ($name) = @_;
	my %charges;

	foreach my $peer ($peer_a, $peer_b)
	{
		$charges{ $_->{payments_ref} }++ foreach grep { $_->{captured} > 0 } @{ $peer->book->{charges} };
	}
	my @twice = grep { $charges{$_} > 1 } keys %charges;
	is_deeply(\@twice, [], "$name: nobody was charged twice");
	is(scalar keys %charges, value($node, q{SELECT count(*) FROM payments.payment WHERE status = 'succeeded'}), "$name: and whoever has paid was charged");
	return;
}

# ---------- all is well
is(pay('well', 20), 'a|20', 'all go to the first');
at_rest($node);
is(value($node, q{SELECT psp, status, count(*) FROM payments.payment GROUP BY 1, 2}), 'a|succeeded|20', 'which takes them');

# ---------- the first dies in the middle: it has charged, and nobody is told any more
$peer_a->faults({ fault => 'lose_answer' });
is(pay('middle', 5), 'a|5', 'in the middle of five');
ok(wait_until($node, q{SELECT count(*) FROM payments.payment WHERE status = 'in_doubt'}, 5), 'of which nobody knows');
a_is_at($gone);
$peer_a->faults;
pay('dead', 20);
ok(wait_until($node, q{SELECT count(*) FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id) WHERE k.key LIKE 'dead-%' AND p.status = 'succeeded'}, 20),
	'it is dead: what comes then succeeds all the same');
is(value($node, q{SELECT DISTINCT p.psp FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id) WHERE k.key LIKE 'dead-%'}), 'b', 'at the second');
is(value($node, q{SELECT count(*) > 0, bool_and(d.former_psp = 'a' AND d.psp = 'b' AND d.reason = 'not_sent') FROM payments.route_decision d}), 't|t', 'to which some went only then');
is(value($node, q{SELECT psp, status, count(*) FROM payments.payment WHERE status <> 'succeeded' GROUP BY 1, 2}), 'a|in_doubt|5', 'what is in doubt stays where it is');

# ---------- and comes back
a_is_at($peer_a->url);
my $n = 0;
ok( eventually(
		sub {
			pay('back' . $n++, 1);
			return value($node, q{SELECT count(*) > 0 FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id) WHERE k.key LIKE 'back%' AND p.psp = 'a' AND p.status = 'succeeded'}) eq 't';
		}),
	'the first is back: payments go there again');
at_rest($node);
is(value($node, q{SELECT DISTINCT p.psp, p.status FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id) WHERE k.key LIKE 'middle-%'}), 'a|succeeded', 'what was in doubt was charged there');

# ---------- what was declined softly waits for its day, also while its PSP is paused
sub resting { return value($node, q{SELECT p.psp, p.status, q.due_at > now() + interval '2 days' FROM payments.payment p JOIN payments.queue q USING (payment_id) WHERE p.off_session}) }
value($node, q{INSERT INTO payments.retry_schedule (schedule, psp, try, delay, builtin) VALUES ('soft_decline', 'a', 1, '3 days', false);
	SELECT payments.create_payment('resting', 1000, 'EUR', payment_method => 'pm_card_visa_chargeDeclinedInsufficientFunds', off_session => true)});
ok(eventually(sub { resting() eq 'a|awaiting_retry|t' }), 'declined softly: due in days');
stop_worker($node);
is(pay('witness', 1), 'a|1', 'and one that can go elsewhere at once');
value($node, q{SELECT payments.pause_psp('a', 'maintenance'), payments.start_worker()});
ok(wait_until($node, q{SELECT p.psp, p.status FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id) WHERE k.key = 'witness-1'}, 'b|succeeded'), 'does');
is(resting(), 'a|awaiting_retry|t', 'the other one stays: the rule lets nothing go that was declined');
value($node, q{SELECT payments.create_route_rule('cards', moves_declined => true)});
ok(eventually(sub { resting() eq 'b|awaiting_retry|t' }), 'if it does, the payment goes, and is due on the same day');
value($node, q{SELECT payments.cancel_payment(payment_id, 'resting, cancelled'), payments.resume_psp('a') FROM payments.payment WHERE off_session});
at_rest($node);
books_agree('all of it');
check_clean($node);

$node->stop;
done_testing();
