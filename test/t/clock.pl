# If this fails, a server whose clock is set back takes no payments until it
# has caught up, or one whose clock is set ahead gives up calls that are on
# their way and takes their answers for late, as would one with a short lease.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $DAY = '2031-05-15';

set_clock($DAY, 12);
my $node = new_payments_node('clock', start => 0, conf => 'payments.seal_interval = 0');
my $peer = start_peer();
with_clock(sub { $node->start });
$node->safe_psql('postgres', 'CREATE EXTENSION payments; SELECT payments.setup()');
create_stripe_psp($node, $peer);
no_inquiries($node);
# Armed long ago: by a clock that was set back, what is new would be older than that, and asked about first.
value($node, q{UPDATE payments.installation SET armed_at = '2000-01-01 00:00+00'});
$node->safe_psql('postgres', q{INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) VALUES ('not_sent', 1, '10 min', false)});

sub waits_at_most
{
	my ($payment, $interval) = @_;

	return "SELECT q.due_at < now() + interval '$interval' FROM payments.queue q WHERE q.payment_id = '$payment'";
}

sub put_off
{
	my ($name) = @_;

	$peer->faults({ fault => 'status_409', count => 1 });
	my $payment = create_payment($node, idempotency_key => $name, amount => 1000);
	ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$payment'", 'awaiting_retry'), "$name is put off");
	return $payment;
}

# ---------- back
is(outcome($node, create_payment($node, idempotency_key => 'before', amount => 1000)), 'succeeded', 'a payment at noon');
my $put_off = put_off('one');
$peer->faults({ fault => 'hold', count => 1 });
my $held = create_payment($node, idempotency_key => 'held', amount => 1000);
$peer->wait_held(1);

set_clock($DAY, 11);
is(outcome($node, create_payment($node, idempotency_key => 'behind', amount => 1000)), 'succeeded', 'the clock is set back by an hour: payments go on');
ok(wait_until($node, waits_at_most($put_off, '11 min')), 'what was put off comes no later');
like(slurp_file($node->logfile), qr/the clock was set back by \d+ s/, 'the log says so');
$peer->release;
is(outcome($node, $held), 'succeeded', 'and an answer to a call of before is taken');

# ---------- back while nobody looks
value($node, "UPDATE payments.queue SET due_at = now() WHERE payment_id = '$put_off'");
is(outcome($node, $put_off), 'succeeded', 'it is sent');
$put_off = put_off('another');
stop_worker($node);
set_clock($DAY, 9);
$node->safe_psql('postgres', 'SELECT payments.start_worker()');
ok(wait_until($node, waits_at_most($put_off, '11 min')), 'set back while no worker looks: likewise');
value($node, "UPDATE payments.queue SET due_at = now() WHERE payment_id = '$put_off'");
is(outcome($node, $put_off), 'succeeded', 'it is sent as well');

# ---------- a row that somebody holds
stop_worker($node);
my @late = map { create_payment($node, idempotency_key => "late-$_", amount => 1000) } 1, 2;
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT FROM payments.queue WHERE payment_id = '$late[0]' FOR UPDATE");
set_clock($DAY, 8);
$node->safe_psql('postgres', 'SELECT payments.start_worker()');
is(outcome($node, $late[1]), 'succeeded', 'a row that somebody holds keeps no other waiting');
$holder->query_safe('COMMIT');
$holder->quit;
is(outcome($node, $late[0]), 'succeeded', 'and is found when it is free');

# ---------- ahead
# Several: what is asked about one must not lose sight of the others.
$peer->faults({ fault => 'hold', count => 3 });
my ($on_its_way, @beside) = map { create_payment($node, idempotency_key => "on-its-way-$_", amount => 1000) } 1 .. 3;
$peer->wait_held(3);
set_clock($DAY, 15);
is(outcome($node, create_payment($node, idempotency_key => 'after', amount => 1000)), 'succeeded', 'the clock is set ahead by hours: payments go on');
is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$on_its_way'"), 'processing', 'a call that is on its way is not given up');
$peer->release;
is(outcome($node, $on_its_way), 'succeeded', 'its answer is taken');
is(join(' ', map { outcome($node, $_) } @beside), 'succeeded succeeded', 'and of those beside it');
is(value($node, 'SELECT count(*) FROM payments.dead_letter'), 0, 'nothing is a dead letter');
is(value($node, "SELECT string_agg(class || ' ' || late, ',') FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$on_its_way'"),
	'approved false', 'in time, and as the first');

# ---------- a call may take longer than the lease
$node->append_conf('postgresql.conf', "payments.lease = '1 s'");
reload($node);
$peer->faults({ fault => 'hold', count => 1 });
my $long = create_payment($node, idempotency_key => 'long', amount => 1000);
$peer->wait_held(1);
ok(wait_until($node, "SELECT clock_timestamp() > claimed_at + interval '2 s' FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$long'"), 'two leases later');
is(outcome($node, create_payment($node, idempotency_key => 'beside', amount => 1000)), 'succeeded', 'the worker has looked');
is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$long'"), 'processing', 'a call that may take so long is not given up');
$peer->release;
is(outcome($node, $long), 'succeeded', 'its answer is taken');
is(value($node, "SELECT count(*) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$long'"), '1', 'as that of the only call');

at_rest($node);
check_clean($node);
$node->stop;
done_testing();
