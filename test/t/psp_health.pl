# If this fails, new payments are sent to a PSP that is known not to answer, a
# PSP that answers again is never tried, or a restart forgets what a PSP wanted.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $node = new_payments_node('health', conf => "payments.lease = '1 h'");
my $peer = start_peer();
create_stripe_psp($node, $peer);
no_inquiries($node);
$node->safe_psql('postgres', q{SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed});

sub health
{
	return value($node, q{SELECT state FROM payments._health_of('stripe')});
}

is(outcome($node, create_payment($node, idempotency_key => 'first', amount => 1000)), 'succeeded', 'a payment');
is(health(), 'good', 'all is well');
ok(wait_until($node, q{SELECT calls > 0 AND failures = 0 AND p99_ms >= p50_ms FROM payments._health_of('stripe')}, 't'), 'its calls are counted and timed');

# ---------- one that does not answer
$peer->faults({ fault => 'reset_before' });
for (my $n = 0; health() !~ /silent|half_open/ && $n < 100; $n++)
{
	my $lost = create_payment($node, idempotency_key => "lost-$n", amount => 1000);
	wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$lost'", 'in_doubt');
}
like(health(), qr/silent|half_open/, 'sessions see that it does not answer');
ok(wait_until($node, q{SELECT failures >= 3 AND failure IS NOT NULL AND failed_at <= now() FROM payments._health_of('stripe')}, 't'), 'and what failed');
ok(wait_until($node, q{SELECT count(*) FROM payments.psp_health WHERE silent_until IS NOT NULL}, 1), 'it is written down');
$node->restart;
ok(wait_until($node, 'SELECT running FROM payments.worker_status', 't'), 'the server is restarted');
is(outcome($node, create_payment($node, idempotency_key => 'turn', amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok')), 'succeeded', 'its worker has had its turn');
like(health(), qr/silent|half_open/, 'which makes no difference');

$peer->faults;
is(outcome($node, create_payment($node, idempotency_key => 'probe', amount => 1000)), 'succeeded', 'one call shows that it answers');
is(health(), 'good', 'and all is well again');

# ---------- a pause by a person
value($node, q{SELECT payments.pause_psp('stripe', 'maintenance')});
my $before = scalar @{ $peer->book->{charges} };
my $waits = create_payment($node, idempotency_key => 'waits', amount => 1000);
value($node, q{UPDATE payments.queue SET due_at = now() WHERE action = 'inquire'});
ok(wait_until($node, q{SELECT bool_and(EXISTS (SELECT FROM payments.attempt a JOIN payments.attempt_answer r USING (operation_id, attempt)
	WHERE a.operation_id = o.operation_id AND a.action = 'inquire')) FROM payments.operation o WHERE o.status = 'in_doubt'}, 't'), 'what the PSP may have is asked for');
is(outcome($node, create_payment($node, idempotency_key => 'turn-2', amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok')), 'succeeded', 'other PSPs go on');
is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$waits'"), 'initiated', 'nothing new is sent');
is(scalar @{ $peer->book->{charges} }, $before, 'nor anything again');
is(value($node, q{SELECT state || ' ' || reason FROM payments.psp_status WHERE psp = 'stripe'}), 'paused maintenance', 'as psp_status says');
value($node, q{SELECT payments.pause_psp('stripe', 'a moment', clock_timestamp() + interval '100 ms')});
is(outcome($node, $waits), 'succeeded', 'a pause ends by itself');

# ---------- what was agreed with the PSP
value($node, q{UPDATE payments.psp SET calls_per_second = 40 WHERE psp = 'stripe'});
value($node, q{SELECT count(*) FROM generate_series(1, 100) i, LATERAL payments.create_payment(idempotency_key => 'agreed-' || i,
	amount => 1000, currency => 'EUR', psp => 'stripe', payment_method => 'pm_card_visa')});
fast_schedules($node);
at_rest($node);
cmp_ok(value($node, q{SELECT extract(epoch FROM max(claimed_at) - min(claimed_at)) FROM payments.attempt a JOIN payments.operation o USING (operation_id)
	JOIN payments.idempotency_key k USING (payment_id) WHERE k.key LIKE 'agreed-%'}), '>', 2, 'a hundred calls at forty a second take more than two');
is(value($node, q{SELECT count(*) FROM payments.psp_health}), 0, 'the PSP had no reason to complain');

check_clean($node);
$node->stop;
done_testing();
