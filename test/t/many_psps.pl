# If this fails, a company with many PSPs, or many accounts at one, has some
# that are never called, or one PSP that is down keeps the payments of all
# others waiting.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $SLOTS = 40;
my $PSPS  = 200;

my $node = new_payments_node('many', conf => "payments.inflight_max = $SLOTS\npayments.lease = '1 h'");
my $peer = start_peer();
my $dead = start_peer(faults => [ { fault => 'hang' } ]);

# Their names are the first ones, and so are their payments: neither may count for more than a share.
foreach my $psp ('a_dead', 'b_dead')
{
	create_stripe_psp($node, $dead, psp => $psp, timeout => '10 min');
}
create_stripe_psp($node, $peer);
$node->safe_psql('postgres', sprintf q{
	SELECT payments.create_psp(psp => 'p' || i, adapter => 'stripe', base_url => %s, secret => 'stripe') FROM generate_series(1, %d) i;
	SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed;
}, sql_literal($peer->url), $PSPS);
fast_schedules($node);

# One for each i, at the PSP that the expression names.
sub create_payments
{
	my ($psp, $n) = @_;

	return "SELECT FROM generate_series(1, $n) i, LATERAL payments.create_payment(idempotency_key => $psp || '-' || i,
		amount => 1000, currency => 'EUR', psp => $psp, payment_method => 'pm_card_visa');";
}

# ---------- two that do not answer
$node->safe_psql('postgres', 'BEGIN;' . create_payments("'a_dead'", 60) . create_payments("'b_dead'", 60) . 'COMMIT;');
ok(wait_until($node, "SELECT in_flight BETWEEN 31 AND $SLOTS - 1 FROM payments.worker_status", 't'),
	'more is due at two PSPs that do not answer than there are slots, and some slots stay free');

# ---------- and two hundred that do
$node->safe_psql('postgres', create_payments("'p' || i", $PSPS));
ok( wait_until($node, q{SELECT count(*) FROM payments.payment WHERE psp ~ '^p' AND status = 'succeeded'}, $PSPS),
	"a payment at each of $PSPS others succeeds");
is(scalar @{ $peer->book->{charges} }, $PSPS, 'each was charged once');
is( value($node, q{SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id)
	WHERE psp ~ 'dead$'}), '0', 'before those that hang had ended');

# ---------- more that do not answer than there are slots
value($node, sprintf q{SELECT payments.create_psp('d' || i, 'stripe', '%s', 'stripe') FROM generate_series(1, %d) i; UPDATE payments.psp SET timeout = '10 min' WHERE psp ~ '^d[0-9]';
	SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed WHERE psp ~ '^d[0-9]'}, $dead->url, 2 * $SLOTS);
$dead->faults({ fault => 'hang', method => 'POST' });
$node->safe_psql('postgres', create_payments("'d' || i", 2 * $SLOTS));
ok(wait_until($node, "SELECT in_flight >= $SLOTS - 5 FROM payments.worker_status", 't'), 'more PSPs than there are slots do not answer, and those are in flight that may');
$node->safe_psql('postgres', "SELECT FROM generate_series(1, 50) i, LATERAL payments.create_payment(idempotency_key => 'answers-' || i, amount => 1000, currency => 'EUR', psp => 'p' || i, payment_method => 'pm_card_visa')");
ok(wait_until($node, q{SELECT count(*) FROM payments.idempotency_key JOIN payments.payment USING (payment_id) WHERE key LIKE 'answers-%' AND payment.status = 'succeeded'}, 50),
	'those that answer are called all the same');
is( value($node, q{SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id)
	WHERE psp ~ '^d[0-9]'}), '0', 'before those that hang had ended');

$dead->faults;
value($node, 'SELECT pg_terminate_backend(pid) FROM payments.worker_status');
at_rest($node);
is(value($node, q{SELECT status, count(*) FROM payments.payment GROUP BY 1}), 'succeeded|' . ($PSPS + 120 + 2 * $SLOTS + 50), 'which succeed once they are answered');
check_clean($node);

# ---------- one that is gone
# Once in its life a PSP that cannot be called is named in the log: to be named again, it must have been forgotten.
my $named = qr/payments worker sends nothing to PSP "brief"/;
my $from  = -s $node->logfile;

foreach my $life (1 .. 2)
{
	$node->safe_psql('postgres', q{SELECT payments.create_psp(psp => 'brief', adapter => 'stripe', secret => 'nowhere')});
	create_payment($node, idempotency_key => "while-$life", amount => 1000);
	at_rest($node);
	is(scalar(() = slurp_file($node->logfile, $from) =~ /$named/g), $life, "life $life of a PSP: the worker knows it");
	$node->safe_psql('postgres', q{DELETE FROM payments.psp_feed WHERE psp = 'brief'; DELETE FROM payments.psp WHERE psp = 'brief'});
	create_payment($node, idempotency_key => "after-$life", amount => 1000);
	at_rest($node);
}
is(value($node, 'SELECT pid IS NOT NULL FROM payments.worker_status'), 't', 'and the worker goes on');

$node->stop;
done_testing();
