# If this fails, somebody without the secret marks payments as paid, or an event
# that comes twice, late or in the wrong order books money twice or loses it.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use HTTP::Tiny;
use PaymentsTest;
use Test::More;

my $node = new_payments_node('webhooks');
my $peer = start_peer();
create_stripe_psp($node, $peer);
no_inquiries($node);

sub ref_of { return value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$_[0]' AND kind IN ('charge', 'authorize')") }
sub status_of { return value($node, "SELECT status FROM payments.payment WHERE payment_id = '$_[0]'") }
sub deliver { my ($code, $stdout, $stderr) = deliver_event($node, @_); return $code == 0 ? $stdout : $stderr }
sub delivered_state { my ($event, %options) = @_; return sqlstate($node, PaymentsTest::webhook_sql($event, %options)) }
sub book_of { return value($node, "SELECT kind, amount FROM payments.posting WHERE payment_id = '$_[0]' ORDER BY posting_id") }

# A charge that the PSP has and we never asked it for, or no longer.
sub charge_at_psp
{
	my ($ref, $amount, $key) = @_;
	my $answer = HTTP::Tiny->new->post_form($peer->url . '/v1/payment_intents',
		[ amount => $amount, currency => 'eur', payment_method => 'pm_card_visa', confirm => 'true', capture_method => 'automatic',
			'metadata[payments_ref]' => $ref, 'metadata[payments_generation]' => 1 ],
		{ headers => { Authorization => "Bearer $PaymentsTest::SECRET", 'Idempotency-Key' => $key } });
	die $answer->{content} unless $answer->{success};
	return;
}

# ---------- signatures
my $id = create_payment($node, idempotency_key => 'signature', amount => 1000, payment_method => 'pm_card_authenticationRequired', return_url => 'https://shop.example/');
is(outcome($node, $id), 'requires_action', 'the payer must act');
$peer->control({ finish => { ref => ref_of($id) } });
my @succeeded = (type => 'payment_intent.succeeded', ref => ref_of($id));
my ($event) = $peer->events(@succeeded);
my ($wrong) = map { s/v1=./v1=g/r } $event->{signature};
is(delivered_state($event, signature => $wrong), 'PY501', 'a wrong signature is refused');
is(delivered_state($event, signature => $event->{signature} =~ s/v1=(.)/'v1=' . ($1 eq 'a' ? 'b' : 'a')/er), 'PY501', 'one that is wrong in a digit as well');
is(delivered_state($event, headers => {}), 'PY501', 'a missing one is refused');
is(delivered_state($event, signature => ''), 'PY501', 'an empty one is refused');
is(delivered_state($event, body => $event->{body} =~ s/"amount":1000/"amount":9000/r), 'PY501', 'another body is refused');
is(delivered_state(($peer->events(@succeeded, t => int(time) - 3600))[0]), 'PY502', 'an old one is refused');
is(delivered_state(($peer->events(@succeeded, t => int(time) + 3600))[0]), 'PY502', 'one from the future is refused');
is(value($node, 'SELECT count(*) FROM payments.psp_event'), 0, 'nothing is left of them');
is(status_of($id), 'requires_action', 'and nothing has changed');

# ---------- the body of one that is refused stays out of the log, though it is in the statement
my %refused = (
	PY401 => { psp => 'nowhere' },
	PY403 => { psp => 'stripe_bare' },
	PY407 => { psp => 'sandbox' },
	PY501 => { headers => {} },
	PY503 => { headers => [] },
	PY504 => { body => 'x' x (1024 * 1024 + 1) });
value($node, "SELECT payments.create_psp('stripe_bare', 'stripe')");
my $logged = -s $node->logfile;
is(delivered_state($event, %{ $refused{$_} }), $_, "refused: $_") foreach sort keys %refused;
is($node->psql('postgres', "BEGIN READ ONLY; " . PaymentsTest::webhook_sql($event)), 3, 'an error that is not of ours');
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $logged);
like($log, qr/ERROR:  PSP "nowhere" does not exist.*ERROR:  cannot accept this in a read-only transaction/s, 'the log has the errors');
unlike($log, qr/receive_webhook\(|decode\(/, 'and none of the statements');

# ---------- once, and once again
like(deliver($event), qr/^$event->{id}\|f\|$id\|succeeded\|$/, 'the true one is applied');
like(deliver($event), qr/^$event->{id}\|t\|$id\|succeeded\|$/, 'again: a duplicate');
like(deliver(($peer->events(@succeeded, t => int(time) - 60))[0]), qr/\|t\|/, 'sent anew with another timestamp: a duplicate');
is(value($node, "SELECT count(*) FROM payments.psp_event"), 1, 'stored once');
is(value($node, "SELECT body = decode('" . unpack('H*', $event->{body}) . "', 'hex'), outcome FROM payments.psp_event"), 't|applied', 'raw');
like(book_of($id), qr/^capture\|1000$/m, 'posted once');

# ---------- unknown types, events of others
$peer->control({ emit => { type => 'customer.created', object => { id => 'cus_1', object => 'customer' } } });
like(deliver(($peer->events(type => 'customer.created'))[0]), qr/\|f\|\|\|$/, 'an unknown type is taken and ignored');
$peer->control({ emit => { type => 'payment_intent.succeeded', object => { id => 'pi_other', object => 'payment_intent', amount => 1, amount_received => 1, currency => 'eur', status => 'succeeded', metadata => {} } } });
my ($other) = grep { $_->{body} =~ /pi_other/ } $peer->events(type => 'payment_intent.succeeded');
like(deliver($other), qr/\|f\|\|\|$/, 'a payment that was not made here is no business of ours');
is(value($node, q{SELECT string_agg(outcome, ' ' ORDER BY received_at) FROM payments.psp_event}), 'applied ignored unmatched', 'outcomes');
is(value($node, 'SELECT count(*) FROM payments.exception'), 0, 'no exception');

# ---------- out of order
$id = create_payment($node, idempotency_key => 'order', amount => 1100, payment_method => 'pm_test_processing');
ok(wait_until($node, "SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'", 1), 'processing at the PSP');
$peer->control({ finish => { ref => ref_of($id) } });
my %of = map { $_->{type} => $_ } $peer->events(ref => ref_of($id));
deliver($of{'payment_intent.succeeded'});
is(status_of($id), 'succeeded', 'success comes first');
deliver($of{$_}) foreach 'payment_intent.processing', 'payment_intent.created';
is(status_of($id), 'succeeded', 'what is older changes nothing');
like(book_of($id), qr/\Acapture\|1100\n?(?:fee\|\d+)?\z/, 'posted once');

# ---------- before the API answer
$peer->faults({ fault => 'hold', method => 'POST' });
$id = create_payment($node, idempotency_key => 'early', amount => 1200);
ok($peer->wait_held(1), 'a call is in flight');
deliver(($peer->events(type => 'payment_intent.succeeded', ref => ref_of($id)))[0]);
is(value($node, "SELECT status || '/' || source FROM payments.payment_history('$id') ORDER BY seq DESC LIMIT 1"), 'succeeded/webhook', 'the webhook wins');
$peer->release;
ok(wait_until($node, "SELECT late FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'", 't'), 'the answer comes late');
is(book_of($id), "capture|1200\nfee|43", 'no double posting, and the fee that only the answer tells');
is(value($node, "SELECT count(*) FROM payments.payment_history('$id') WHERE status = 'succeeded'"), 1, 'succeeded once');
check_clean($node, 'until here check() is clean');

# ---------- a refund heard of before anybody knew the payment's id, by a session that ends after the answer has come
$peer->faults({ fault => 'hold', method => 'POST' });
$id = create_payment($node, idempotency_key => 'unknown', amount => 1250);
ok($peer->wait_held(1), 'a call is in flight');
$peer->control({ refund => { ref => ref_of($id), amount => 250 } });
my $slow = $node->background_psql('postgres');
$slow->query_safe('BEGIN; ' . PaymentsTest::webhook_sql(($peer->events(type => 'refund.created'))[-1]));
$peer->release;
is(outcome($node, $id), 'succeeded', 'the answer tells the id');
is(value($node, "SELECT refunded FROM payments.payment WHERE payment_id = '$id'"), 0, 'nobody has seen the refund');
$slow->query_safe('COMMIT');
ok(wait_until($node, "SELECT status, refunded FROM payments.payment WHERE payment_id = '$id'", 'partially_refunded|250'), 'the worker has looked once more');
$slow->quit;

# ---------- refund that fails after it had succeeded
$id = create_payment($node, idempotency_key => 'refund', amount => 1300);
is(outcome($node, $id), 'succeeded', 'captured');
value($node, "SELECT * FROM payments.refund_payment('$id', 'refund-1', 500)");
is(outcome($node, $id), 'partially_refunded', 'refunded');
$peer->control({ fail_refund => { payment_intent => value($node, "SELECT psp_payment_id FROM payments.payment WHERE payment_id = '$id'") } });
my ($failed) = $peer->events(type => 'refund.failed');
deliver($failed);
is(value($node, "SELECT status, refunded FROM payments.payment WHERE payment_id = '$id'"), 'succeeded|0', 'the refund failed after all');
deliver($_) foreach $peer->events(type => 'refund.created'), $peer->events(type => 'refund.updated'), $failed;
is(value($node, "SELECT status, refunded FROM payments.payment WHERE payment_id = '$id'"), 'succeeded|0', 'older events of it change nothing');
is(value($node, "SELECT count(*) FILTER (WHERE kind = 'refund'), count(*) FILTER (WHERE kind = 'refund_failed') FROM payments.posting WHERE payment_id = '$id'"), '1|1', 'reversed once');
is(value($node, "SELECT count(*) FROM payments.exception WHERE payment_id = '$id' AND kind = 'refund_failed'"), 1, 'a person is told');

# ---------- refund made in the dashboard
my $intent = value($node, "SELECT psp_payment_id FROM payments.payment WHERE payment_id = '$id'");
my %known = map { $_->{id} => 1 } $peer->events;
$peer->control({ refund => { payment_intent => $intent, amount => 300 } });
deliver($_) foreach grep { !$known{ $_->{id} } } $peer->events;
is(value($node, "SELECT status, refunded FROM payments.payment WHERE payment_id = '$id'"), 'partially_refunded|300', 'a refund made in the dashboard is booked');

# ---------- disputes
$id = create_payment($node, idempotency_key => 'dispute', amount => 1400);
is(outcome($node, $id), 'succeeded', 'captured');
$peer->control({ dispute => { ref => ref_of($id) } });
my ($opened) = $peer->events(type => 'charge.dispute.created');
deliver($opened);
is(value($node, "SELECT status, disputed FROM payments.payment WHERE payment_id = '$id'"), 'disputed|1400', 'disputed');
like(sqlstate($node, "SELECT * FROM payments.refund_payment('$id', 'dispute-refund', 1)"), qr/^PY00[67]$/, 'what is disputed cannot be refunded as well');
deliver($_) foreach $peer->events(type => 'charge.dispute.funds_withdrawn');
is(value($node, "SELECT disputed FROM payments.payment WHERE payment_id = '$id'"), 1400, 'counted once');
$peer->control({ close_dispute => { ref => ref_of($id), status => 'won' } });
deliver($_) foreach $peer->events(type => 'charge.dispute.closed');
is(value($node, "SELECT status, disputed FROM payments.payment WHERE payment_id = '$id'"), 'succeeded|0', 'won');
is(value($node, "SELECT balance FROM payments.trial_balance WHERE code = 'dispute_reserve'"), 0, 'nothing is in reserve');

# ---------- money that comes after the payment was cancelled
stop_worker($node);
$id = create_payment($node, idempotency_key => 'cancelled', amount => 1500);
is(value($node, "SELECT status FROM payments.cancel_payment('$id', 'cancelled-cancel')"), 'succeeded', 'cancelled at once') or diag(status_of($id));
is(status_of($id), 'cancelled', 'before anything was sent');
charge_at_psp(ref_of($id), 1500, 'by-another-hand');
my ($late) = $peer->events(type => 'payment_intent.succeeded', ref => ref_of($id));
deliver($late);
deliver($late);
is(value($node, "SELECT status, captured FROM payments.payment WHERE payment_id = '$id'"), 'cancelled|0', 'it stays cancelled');
is(value($node, "SELECT balance FROM payments.trial_balance WHERE code = 'suspense'"), 1500, 'the money stands in suspense');
is(value($node, "SELECT kind, amount FROM payments.exception WHERE payment_id = '$id'"), 'after_cancel|1500', 'and a person is told');

# ---------- a payment that is gone: rows were lost, the PSP has the money
charge_at_psp('a' x 52, 1600, 'orphan');
my ($orphan) = $peer->events(type => 'payment_intent.succeeded', ref => 'a' x 52);
like(deliver($orphan), qr/\|f\|\|\|$/, 'an event of a payment that is not here is taken');
is(value($node, q{SELECT kind, amount, currency FROM payments.exception WHERE kind = 'orphan'}), 'orphan|1600|EUR', 'and a person is told');
value($node, 'SELECT payments.start_worker()');

# ---------- everything again
my $before = value($node, 'SELECT count(*), sum(amount) FROM payments.movement');
my $again = join "\n", map { PaymentsTest::webhook_sql($_) . ';' } $peer->events, reverse $peer->events;
$node->safe_psql('postgres', $again);
is(value($node, 'SELECT count(*), sum(amount) FROM payments.movement'), $before, 'all events once more, forwards and backwards: no movement more');
check_clean($node);
log_lacks_deadlocks($node);
$node->stop;
done_testing();
