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

check_clean($node);
$node->stop;
done_testing();
