# If this fails, one blip of the network stops a PSP for a minute, a PSP that
# does not answer gets more than one call at a time to find that out, or the
# worker burns a core and fills the log of transactions while it waits for one.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP ();
use PaymentsTest;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $node = new_payments_node('breaker', conf => "payments.lease = '1 h'");
my $peer = start_peer();
create_stripe_psp($node, $peer);
no_inquiries($node);

sub create_payments
{
	my ($name, $n) = @_;

	return value($node, "SELECT count(*) FROM generate_series(1, $n) i, LATERAL payments.create_payment(idempotency_key => '$name-' || i,
		amount => 1000, currency => 'EUR', psp => 'stripe', payment_method => 'pm_card_visa')");
}

sub log_says
{
	my ($pattern) = @_;

	return scalar(() = slurp_file($node->logfile) =~ /$pattern/g);
}

# ---------- thirty answers lost in one instant
$peer->faults({ fault => 'hold' });
create_payments('blip', 30);
$peer->wait_held(30);
$peer->control({ faults => [], down_for_ms => 1 });
ok(wait_until($node, q{SELECT count(*) FROM payments.attempt_answer WHERE class = 'unknown'}, 30), 'thirty answers are lost at once');
is(outcome($node, create_payment($node, idempotency_key => 'behind', amount => 1000)), 'succeeded', 'a payment after it succeeds');
is(log_says('does not answer'), 0, 'and the PSP was not given up: it was one event');

# ---------- a PSP that does not answer
$peer->faults({ fault => 'hang', perform => JSON::PP::false() });
value($node, q{UPDATE payments.psp SET timeout = '1 s'});
for (my $n = 0; log_says('does not answer') == 0 && $n < 100; $n++)
{
	create_payments("hang-$n", 1);
	wait_until($node, 'SELECT in_flight FROM payments.worker_status', 0);
}
is(log_says('does not answer'), 1, 'after some calls, one behind the other, it is given up');
create_payments('wait', 20);
value($node, q{UPDATE payments.psp SET timeout = '10 min'});
ok(wait_until($node, q{SELECT EXISTS (SELECT FROM payments.queue WHERE claimed_by IS NOT NULL AND due_at > now() + interval '30 min'
	) AND in_flight = 1 FROM payments.worker_status}), 'then one call probes');
my $rate = value($node, q{
	DO $$
	DECLARE
		begun timestamptz := clock_timestamp();
		before bigint;
		after bigint;
		probes bigint;
	BEGIN
		PERFORM pg_stat_clear_snapshot();
		SELECT xact_commit INTO STRICT before FROM pg_stat_database WHERE datname = current_database();
		PERFORM pg_sleep(5);
		PERFORM pg_stat_clear_snapshot();
		SELECT xact_commit INTO STRICT after FROM pg_stat_database WHERE datname = current_database();
		SELECT in_flight INTO STRICT probes FROM payments.worker_status;
		CREATE TABLE looked AS SELECT (after - before) / extract(epoch FROM clock_timestamp() - begun) AS rate, probes;
	END
	$$;
	SELECT round(rate) || '|' || probes FROM looked});
like($rate, qr/^\d{1,2}\|1$/, 'nothing else is sent, and the worker sleeps meanwhile: fewer than a hundred transactions a second');

$peer->faults;
fast_schedules($node);
value($node, q{UPDATE payments.queue SET due_at = now() WHERE claimed_by IS NULL});
value($node, 'SELECT pg_terminate_backend(pid) FROM payments.worker_status');
at_rest($node);
is(value($node, q{SELECT DISTINCT status FROM payments.payment}), 'succeeded', 'when it answers, all succeed');
check_clean($node);

$node->stop;
done_testing();
