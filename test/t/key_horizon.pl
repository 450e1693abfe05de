# If this fails, a payment that was certainly never charged is not sent any more
# because its PSP was away for a day, or one that may have been charged is sent
# after the PSP has forgotten its key, and the customer pays twice.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Cluster;
use POSIX qw(strftime);
use Test::More;

my $hours = 0;

# The server's clock goes on by so many hours.
sub later
{
	$hours += $_[0];
	my ($date, @time) = split / /, strftime('%Y-%m-%d %H %M %S', gmtime(time + 3600 * $hours));
	set_clock($date, @time);
	return;
}

sub attempts
{
	my ($node, $id) = @_;
	return value($node, "SELECT string_agg(a.action || ':' || coalesce(r.class, '-'), ' ' ORDER BY a.attempt) FROM payments.attempt a
		JOIN payments.operation o USING (operation_id) LEFT JOIN payments.attempt_answer r USING (operation_id, attempt) WHERE o.payment_id = '$id'");
}

sub key_used { return value($_[0], "SELECT key_used_at IS NOT NULL FROM payments.operation WHERE payment_id = '$_[1]'") }

later(0);
my $node = with_clock(sub { new_payments_node('horizon', conf => 'payments.seal_interval = 0') });
my $peer = start_peer();
create_stripe_psp($node, $peer);
fast_schedules($node);

# ---------- refused for our credentials, for more than a day
$peer->faults({ fault => 'status_401' });
my $id = create_payment($node, idempotency_key => 'misconfigured', amount => 1001);
ok(wait_until($node, "SELECT p.halted_at IS NOT NULL AND o.status = 'awaiting_retry' FROM payments.psp p, payments.operation o WHERE p.psp = 'stripe' AND o.payment_id = '$id'"), 'the PSP is halted');
is(key_used($node, $id), 'f', 'the key is as good as new');
later(25);
$peer->faults;
value($node, "SELECT payments.resume_psp('stripe')");
is(outcome($node, $id), 'succeeded', 'a day later it is sent');
is(attempts($node, $id), 'send:misconfigured send:approved', 'not inquired');
is(value($node, "SELECT count(DISTINCT (psp_key, body)) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'"), 1, 'same key, same bytes');

# ---------- nobody there for more than a day; the runbook says redrive()
my $port = PostgreSQL::Test::Cluster::get_free_port();
$node->safe_psql('postgres', qq{
	INSERT INTO payments.retry_schedule (schedule, psp, try, delay, builtin) VALUES ('not_sent', 'down', 1, '10 ms', false);
	SELECT payments.create_psp('down', 'stripe', base_url => 'http://127.0.0.1:$port', secret => 'stripe');
	SELECT payments.enable_feed(psp, feed, false) FROM payments.psp_feed WHERE psp = 'down'});
$id = create_payment($node, idempotency_key => 'unreachable', amount => 1002, psp => 'down');
ok(wait_until($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$id'", 'psp_unreachable'), 'nobody is there: a dead letter');
later(25);
my $late = start_peer(port => $port);
value($node, "SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE payment_id = '$id'");
is(outcome($node, $id), 'succeeded', 'a day later it is sent');
is(attempts($node, $id), 'send:not_sent send:not_sent send:approved', 'not inquired');
is(scalar($late->charges), 1, 'charged once');
$late->stop;

# ---------- an older doubt stays, whatever the resends say
$peer->faults({ fault => 'reset_before', method => 'POST', count => 1 }, { fault => 'status_409', method => 'POST' });
$id = create_payment($node, idempotency_key => 'doubt', amount => 1003);
ok(wait_until($node, "SELECT count(*) >= 2 FROM payments.attempt a JOIN payments.operation o USING (operation_id) JOIN payments.attempt_answer r USING (operation_id, attempt)
	WHERE o.payment_id = '$id' AND r.class = 'not_sent'"), 'lost once, then certainly not processed, twice');
is(key_used($node, $id), 't', 'the key may have been heard');
stop_worker($node);
my $sends = value($node, "SELECT count(*) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id' AND action = 'send'");
$peer->faults;
later(25);
value($node, 'SELECT payments.start_worker()');
ok(wait_until($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$id'", 'outcome_unknown'), 'a day later it is inquired, until a person must decide');
is(value($node, "SELECT count(*) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id' AND action = 'send'"), $sends, 'and not sent');

# ---------- a person's word sends it all the same
my $letter = value($node, "SELECT dead_letter_id FROM payments.dead_letter WHERE payment_id = '$id' AND decision IS NULL");
is(sqlstate($node, "SELECT payments.redrive('$letter', resend => true)"), '22023', 'not without a reason');
value($node, "SELECT payments.redrive('$letter', resend => true, reason => 'no charge on the dashboard')");
is(outcome($node, $id), 'succeeded', 'redrive(resend => true) sends it');
is(value($node, "SELECT decision, decision_reason FROM payments.dead_letter WHERE dead_letter_id = '$letter'"), 'redriven|no charge on the dashboard', 'and who said so is written down');
is(scalar(grep { $_->{amount} == 1003 } $peer->charges), 1, 'charged once');

# ---------- sent by a clock that was days ahead: how old the key is, it does not say any more
later(72);
$peer->faults({ fault => 'reset_before', method => 'POST', count => 1 }, { fault => 'status_409', method => 'POST' });
$id = create_payment($node, idempotency_key => 'ahead', amount => 1004);
ok(wait_until($node, "SELECT count(*) >= 2 FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id' AND action = 'send'"), 'lost, by a clock that is ahead');
stop_worker($node);
$sends = value($node, "SELECT count(*) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id' AND action = 'send'");
$peer->faults;
later(25 - 72);
value($node, 'SELECT payments.start_worker()');
ok(wait_until($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$id'", 'outcome_unknown'), 'set right, and a day later, it is inquired until a person must decide');
is(value($node, "SELECT count(*) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id' AND action = 'send'"), $sends, 'and not sent');
value($node, "SELECT payments.redrive(dead_letter_id, resend => true, reason => 'no charge on the dashboard') FROM payments.dead_letter WHERE payment_id = '$id' AND decision IS NULL");
is(outcome($node, $id), 'succeeded', 'but by a person');
at_rest($node);
check_clean($node);
$node->stop;
done_testing();
