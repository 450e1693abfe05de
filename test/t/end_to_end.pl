# If this fails, an ordinary payment goes wrong in production: it is charged
# twice or not at all, a refund is lost, or our ledger says something else than
# the PSP's own book.  Every path that the README shows goes through a real
# worker over real HTTP here.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $node = new_payments_node('end_to_end');
my $peer = start_peer();
create_stripe_psp($node, $peer);
fast_schedules($node);

# Per charge: what our movements say, against what the PSP wrote down.
sub ledger_is_book
{
	my ($name) = @_;
	my @ours = split /\n/, value(
		$node, q{
		SELECT o.psp_ref, sum(m.amount) FILTER (WHERE m.kind = 'capture'),
			coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund'), 0) - coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund_failed'), 0),
			coalesce(sum(m.amount) FILTER (WHERE m.kind = 'fee'), 0)
		FROM payments.movement m
		JOIN payments.operation o ON o.payment_id = m.payment_id AND o.kind IN ('charge', 'authorize')
		WHERE m.psp = 'stripe' GROUP BY o.psp_ref HAVING sum(m.amount) FILTER (WHERE m.kind = 'capture') > 0});
	my @theirs =
	  map { "$_->{payments_ref}|$_->{captured}|$_->{refunded}|" . $_->{fee} }
	  grep { $_->{status} eq 'succeeded' } @{ $peer->book->{charges} };
	is_deeply([ sort @ours ], [ sort @theirs ], "$name: movements are the PSP's book, charge by charge");

	my $book = $peer->book;
	my $held = ($book->{captured}{eur} // 0) - ($book->{refunded}{eur} // 0) - ($book->{fees}{eur} // 0);
	is( value($node, q{SELECT balance FROM payments.trial_balance WHERE code = 'psp_receivable:stripe' AND currency = 'EUR'}),
		$held,
		"$name: the ledger holds what the PSP owes us");
	check_clean($node, "$name: check() is clean");
}

# ---------- sandbox
my $id = create_payment($node, idempotency_key => 'sandbox-1', amount => 1999, psp => 'sandbox', payment_method => 'sandbox_ok');
is(outcome($node, $id), 'succeeded', 'sandbox payment');
$id = create_payment($node, idempotency_key => 'sandbox-2', amount => 1999, psp => 'sandbox', payment_method => 'sandbox_declined');
is(outcome($node, $id), 'failed', 'sandbox decline');
check_clean($node, 'sandbox: check() is clean');

# ---------- a charge, its replay, another request with its key
$id = create_payment($node, idempotency_key => 'order-1', amount => 1999, order_ref => 'order-1', metadata => '{"shop": "north"}');
is(outcome($node, $id), 'succeeded', 'charge');
is( value($node, "SELECT payment_id, replayed FROM " . PaymentsTest::create_payment_sql(idempotency_key => 'order-1', amount => 1999,
			order_ref => 'order-1', metadata => '{"shop": "north"}')),
	"$id|t",
	'the same call again gives the first payment');
is( sqlstate($node, 'SELECT * FROM ' . PaymentsTest::create_payment_sql(idempotency_key => 'order-1', amount => 2000, order_ref => 'order-1',
			metadata => '{"shop": "north"}')),
	'PY102',
	'the key with another amount is refused');
is(scalar $peer->charges, 1, 'charged once');
is( value($node, "SELECT string_agg(status || '/' || source, ' ' ORDER BY seq) FROM payments.payment_history('$id')"),
	'initiated/client processing/worker succeeded/answer',
	'history');
# 1.5 % of 1999 is 29.985, rounded 30, and 25.
is( value($node, "SELECT kind, amount FROM payments.posting WHERE payment_id = '$id' ORDER BY posting_id"),
	"capture|1999\nfee|55",
	'capture and fee are posted');
ledger_is_book('charge');

# ---------- declines
$id = create_payment($node, idempotency_key => 'declined-1', amount => 1500, payment_method => 'pm_card_chargeDeclinedLostCard');
is(outcome($node, $id), 'failed', 'hard decline');
is(value($node, "SELECT failure_code FROM payments.get_payment('$id')"), 'lost_card', 'with its code');

$id = create_payment($node, idempotency_key => 'soft-1', amount => 1500, off_session => 'true',
	payment_method => 'pm_test_declined_times_1_insufficient_funds');
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$id'", 'succeeded'),
	'soft decline off session: tried again, succeeds');
is( value($node, "SELECT string_agg(status, ' ' ORDER BY seq) FROM payments.payment_history('$id')"),
	'initiated processing awaiting_retry processing succeeded',
	'its history');
is( value($node, "SELECT count(*), count(DISTINCT psp_key) FROM payments.attempt a JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'"),
	'2|2',
	'a new key after the definite decline');
$id = create_payment($node, idempotency_key => 'soft-2', amount => 1500, payment_method => 'pm_test_declined_times_1_insufficient_funds');
is(outcome($node, $id), 'failed', 'soft decline with the customer waiting: failed at once');
ledger_is_book('declines');

# ---------- the answer is lost after the charge
$peer->faults({ fault => 'lose_answer', count => 1, method => 'POST' });
$id = create_payment($node, idempotency_key => 'lost-1', amount => 2500);
is(outcome($node, $id), 'succeeded', 'answer lost: succeeded in the end');
like( value($node, "SELECT string_agg(status || '/' || source, ' ' ORDER BY seq) FROM payments.payment_history('$id')"),
	qr{^initiated/client processing/worker in_doubt/answer succeeded/inquiry$},
	'through in_doubt, by inquiry');
is(scalar(grep { $_->{amount} == 2500 } $peer->charges), 1, 'charged once');
ledger_is_book('lost answer');

# ---------- manual capture
$id = create_payment($node, idempotency_key => 'manual-1', amount => 10000, capture => 'manual');
is(outcome($node, $id), 'authorized', 'authorized');
is(sqlstate($node, "SELECT * FROM payments.capture_payment('$id', 'manual-1-over', 10001)"), 'PY007', 'not more than authorized');
is(sqlstate($node, "SELECT * FROM payments.refund_payment('$id', 'manual-1-early', 1)"), 'PY006', 'no refund before capture');
# Kept back, so that the second call meets the first one under way.
$peer->faults({ fault => 'hold', path => '/capture$' });
value($node, "SELECT * FROM payments.capture_payment('$id', 'manual-1-capture', 6000)");
is( sqlstate($node, "SELECT * FROM payments.capture_payment('$id', 'manual-1-again', 1000)"),
	'PY008', 'a second capture while one is under way is refused')
  or diag(value($node, "SELECT * FROM payments.payment_history('$id')"));
ok($peer->wait_held(1), 'it is under way at the PSP');
$peer->release;
is(outcome($node, $id), 'succeeded', 'partly captured');
like(sqlstate($node, "SELECT * FROM payments.capture_payment('$id', 'manual-1-third', 1000)"), qr/^PY00[67]$/, 'and after it too');
is(sqlstate($node, "SELECT * FROM payments.cancel_payment('$id', 'manual-1-cancel')"), 'PY006', 'no cancel after capture');
is(value($node, "SELECT authorized, captured FROM payments.get_payment('$id')"), '10000|6000', 'amounts');

# ---------- several partial refunds
foreach my $n (1 .. 3)
{
	value($node, "SELECT * FROM payments.refund_payment('$id', 'manual-1-refund-$n', 1500, 'requested_by_customer')");
	is(outcome($node, $id), 'partially_refunded', "refund $n");
}
is(sqlstate($node, "SELECT * FROM payments.refund_payment('$id', 'manual-1-refund-over', 1501)"), 'PY007', 'not more than is left');
is( value($node, "SELECT replayed FROM payments.refund_payment('$id', 'manual-1-refund-1', 1500, 'requested_by_customer')"),
	't', 'a refund called again is replayed');
value($node, "SELECT * FROM payments.refund_payment('$id', 'manual-1-refund-rest')");
is(outcome($node, $id), 'refunded', 'the rest');
is(value($node, "SELECT captured, refunded, refund_pending FROM payments.get_payment('$id')"), '6000|6000|0', 'amounts');
is(scalar @{ $peer->book->{refunds} }, 4, 'four refunds in the PSP\'s book');
ledger_is_book('capture and refunds');

# ---------- cancel
$id = create_payment($node, idempotency_key => 'cancel-1', amount => 4000, capture => 'manual');
is(outcome($node, $id), 'authorized', 'authorized');
value($node, "SELECT * FROM payments.cancel_payment('$id', 'cancel-1-cancel', 'abandoned')");
is(outcome($node, $id), 'cancelled', 'cancelled');
is(sqlstate($node, "SELECT * FROM payments.capture_payment('$id', 'cancel-1-capture')"), 'PY006', 'no capture after cancel');
is(scalar(grep { $_->{amount} == 4000 && $_->{status} eq 'released' } @{ $peer->book->{charges} }), 1, 'released at the PSP');
ledger_is_book('cancel');

# ---------- the payer must act; the PSP says so and later that it is done
fast_schedules($node);
$node->safe_psql('postgres', q{UPDATE payments.retry_schedule SET delay = '1 day' WHERE schedule = 'requires_action' AND NOT builtin});
$id = create_payment($node, idempotency_key => 'action-1', amount => 3000, payment_method => 'pm_card_authenticationRequired',
	return_url => 'https://shop.example/back');
is(outcome($node, $id), 'requires_action', 'the payer must act');
like(value($node, "SELECT next_action_url FROM payments.get_payment('$id')"), qr{^http.*/_authenticate/pi_}, 'where to');
$peer->control({ finish => { outcome => 'succeeded' } });
my ($last) = (grep { $_->{body} =~ /"amount":3000\b/ } $peer->events(type => 'payment_intent.succeeded'))[-1];
deliver_event($node, $last);
is( value($node, "SELECT status || '/' || source FROM payments.payment_history('$id') ORDER BY seq DESC LIMIT 1"),
	'succeeded/webhook', 'finished by webhook');
at_rest($node);
# An event does not hold the fee; the worker asks for it.
is(value($node, "SELECT count(*) FROM payments.movement WHERE payment_id = '$id' AND kind = 'fee'"), 1, 'its fee');
ledger_is_book('requires_action');

# ---------- a secret that the PSP refuses stops the PSP, not the payments
write_secrets($node, stripe => 'sk_test_revoked');
reload($node);
my @waiting = map { create_payment($node, idempotency_key => "halt-$_", amount => 700 + $_) } 1 .. 5;
ok(wait_until($node, q{SELECT halted_at IS NOT NULL FROM payments.psp WHERE psp = 'stripe'}, 't'), '401 halts the PSP');
create_payment($node, idempotency_key => 'halt-6', amount => 706);
is( value($node, q{SELECT count(*) FROM payments.payment WHERE status IN ('initiated', 'awaiting_retry', 'processing')}), 6,
	'the payments wait');
write_secrets($node);
reload($node);
value($node, q{SELECT payments.resume_psp('stripe')});
at_rest($node);
is( value($node, q{SELECT count(*) FROM payments.payment p JOIN payments.idempotency_key k USING (payment_id) WHERE k.key LIKE 'halt-%' AND p.status = 'succeeded'}),
	6, 'and go through after resume_psp()');
is($peer->book(brief => 1)->{keys}{keys_with_many_bodies}, 0, 'no key was sent with other bytes');
is_deeply($peer->book(brief => 1)->{double_charged}, [], 'nobody was charged twice');
is(value($node, 'SELECT count(*) FROM payments.dead_letter'), 0, 'no dead letter until here')
  or diag(value($node, q{SELECT p.status, o.kind, d.reason, d.detail, d.action, (SELECT string_agg(w.class || ' ' || w.code, ', ') FROM payments.attempt_answer w WHERE w.operation_id = o.operation_id)
	FROM payments.dead_letter d JOIN payments.operation o USING (operation_id) JOIN payments.payment p ON p.payment_id = o.payment_id}));
ledger_is_book('halt and resume');

# ---------- the PSP charges something else than was asked: neither yes nor no
foreach my $what ('amount', 'currency')
{
	$id = create_payment($node, idempotency_key => "wrong-$what", amount => 5000, payment_method => "pm_test_wrong_$what");
	ok( wait_until($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$id'", 'conflicted'),
		"wrong $what: a person must look");
	is(value($node, "SELECT status, captured FROM payments.payment WHERE payment_id = '$id'"), 'in_doubt|0', "wrong $what: nothing is taken for captured");
	is(value($node, "SELECT count(*) FROM payments.exception WHERE payment_id = '$id' AND kind = 'conflicted'"), 1, "wrong $what: exception");
	is(value($node, "SELECT count(*) FROM payments.posting WHERE payment_id = '$id'"), 0, "wrong $what: no posting");
}
check_clean($node);
log_lacks_deadlocks($node);
$node->stop;
done_testing();
