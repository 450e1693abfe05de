# If this fails, a slow PSP keeps a transaction of the worker open: vacuum stops,
# tables bloat, and the whole database becomes slower with every minute that
# the PSP hangs.  And one dead PSP would hold up payments through the others.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP ();
use PaymentsTest;
use Test::More;
use Time::HiRes qw(time usleep);

my $CALLS = 500;

my $node  = new_payments_node('no_transaction');
my $slow  = start_peer(faults => [ { fault => 'hold', method => 'POST' } ]);
my $quick = start_peer();
# So that the calls end when we say so, not by timeout, however busy the machine is.
create_stripe_psp($node, $slow, timeout => '5 min');
create_stripe_psp($node, $quick, psp => 'stripe_quick');

# So many calls in flight a PSP gets only when it has answered many: what hangs is let go whenever the worker
# begins no more, and there is always enough to begin.
value($node, "UPDATE payments.psp SET inflight_max = $CALLS WHERE psp = 'stripe'");
my ($payments, $held, $unchanged) = (0, 0, 0);
while ($held < $CALLS)
{
	if (value($node, 'SELECT count(*) FROM payments.queue') < 2 * $CALLS)
	{
		value($node, "SELECT count(*) FROM generate_series($payments + 1, $payments + 1000) n, LATERAL payments.create_payment(
			idempotency_key => 'hang-' || n, amount => 1000, currency => 'EUR', psp => 'stripe', payment_method => 'pm_card_visa')");
		$payments += 1000;
	}
	usleep(100_000);
	my $before = $held;
	$held = $slow->book(brief => 1)->{held};
	$unchanged = $held == $before && $held == value($node, 'SELECT in_flight FROM payments.worker_status') ? $unchanged + 1 : 0;
	next if $unchanged < 5 || $held >= $CALLS;
	$slow->control({ release => JSON::PP::true });
	$unchanged = 0;
}
ok(wait_until($node, 'SELECT in_flight FROM payments.worker_status', $CALLS), "$CALLS operations are claimed");
ok($slow->wait_held($CALLS), "$CALLS calls hang at the PSP");

worker_has_no_transaction($node, 'each transaction and snapshot of the worker that 200 looks meet ends while they hang');
is($slow->book(brief => 1)->{held}, $CALLS, 'and all calls hung all the while');

my $begun = time;
my $id = create_payment($node, idempotency_key => 'quick-1', amount => 1000, psp => 'stripe_quick');
is(outcome($node, $id), 'succeeded', 'a payment through another PSP');
note(sprintf 'it took %.0f ms, with psql', 1000 * (time - $begun));
is($slow->book(brief => 1)->{held}, $CALLS, 'is made while the calls still hang');

# What the worker holds back, vacuum cannot remove.
$node->safe_psql('postgres', 'CREATE TABLE churn AS SELECT g FROM generate_series(1, 1000) g; DELETE FROM churn');
# Any session's snapshot holds them for its moment.
my $deadline = time + 120;
my $stderr = '';
until ($stderr =~ /tuples: 1000 removed, 0 remain, 0 are dead but not yet removable/ || time > $deadline)
{
	usleep(100_000) if $stderr ne '';
	(undef, undef, $stderr) = $node->psql('postgres', 'VACUUM VERBOSE churn');
}
like($stderr, qr/tuples: 1000 removed/, 'vacuum removes dead rows meanwhile');
is($slow->book(brief => 1)->{held}, $CALLS, 'and still they hang');

$slow->release;
at_rest($node);
is(value($node, q{SELECT status, count(*) FROM payments.payment WHERE psp = 'stripe' GROUP BY 1}), "succeeded|$payments", 'all complete when the PSP answers');
is(scalar(grep { $_->{status} eq 'succeeded' } @{ $slow->book->{charges} }), $payments, 'charged once each');
is_deeply($slow->book(brief => 1)->{double_charged}, [], 'nobody twice');
check_clean($node);
$node->stop;
done_testing();
