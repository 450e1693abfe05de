# If this fails, payments that a healthy PSP only wants more slowly become dead
# letters, one that wants a pause is called all the same, or a worker that has
# just started throws everything that is due at it at once.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $N    = 600;
my $node = new_payments_node('pace');
my $peer = start_peer();
create_stripe_psp($node, $peer);
no_inquiries($node);
# Who has one try has none left after a second.
$node->safe_psql('postgres', q{INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) VALUES ('not_sent', 1, '1 s', false)});

sub create_payments
{
	my ($name, $n) = @_;

	return value($node, "SELECT count(*) FROM generate_series(1, $n) i, LATERAL payments.create_payment(idempotency_key => '$name-' || i,
		amount => 1000, currency => 'EUR', psp => 'stripe', payment_method => 'pm_card_visa')");
}

# The worker had its turn behind all that was committed before.
sub worker_had_its_turn
{
	my ($name) = @_;

	return outcome($node, create_payment($node, idempotency_key => "turn-$name", amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok'));
}

# ---------- slow start
$peer->faults({ fault => 'hold' });
create_payments('start', 100);
$peer->wait_held(32);
worker_had_its_turn('start');
is(value($node, 'SELECT in_flight FROM payments.worker_status'), 32, 'of a hundred payments a worker that has just started sends a few');
$peer->release;
at_rest($node);
is(value($node, q{SELECT status, count(*) FROM payments.payment WHERE psp = 'stripe' GROUP BY 1}), 'succeeded|100', 'and when they are answered, the others');
is(value($node, 'SELECT slowed FROM payments.worker_status'), 0, 'no PSP is called more slowly than it might');

# ---------- a PSP that takes so many calls a second
$peer->faults({ fault => 'status_429', rate => 50, method => 'POST' });
create_payments('limited', $N);
ok(wait_until($node, 'SELECT calls_per_second > 0 FROM payments.psp_health'), 'it is seen that a PSP wants fewer calls');
ok(wait_until($node, q{SELECT slowed || ' ' || hint FROM payments.worker_status}, qr/^1 a PSP .*psp_status/), 'and said');
at_rest($node);
is(value($node, q{SELECT status, count(*) FROM payments.payment WHERE psp = 'stripe' GROUP BY 1}), 'succeeded|' . ($N + 100), 'all payments succeed');
is(value($node, 'SELECT count(*) FROM payments.dead_letter'), 0, 'there is no dead letter, though there was one try');
my $refused = value($node, 'SELECT count(*) FROM payments.attempt_answer WHERE http_status = 429');
note("$refused calls were refused for $N payments");
cmp_ok($refused, '>', 0, 'some calls were too many');
cmp_ok($refused, '<', $N / 3, 'and few: the worker slowed down');
is(value($node, 'SELECT max(c) FROM (SELECT count(*) c FROM payments.payment_status GROUP BY payment_id) s') <= 20, 1, 'no history is full of it');

# ---------- a pause
$peer->faults({ fault => 'status_429', count => 1, retry_after => '3600' });
my $first = create_payment($node, idempotency_key => 'pause-1', amount => 1000);
ok(wait_until($node, q{SELECT paused_until > now() + interval '50 min' FROM payments.psp_health}), 'Retry-After is for the PSP');
my $second = create_payment($node, idempotency_key => 'pause-2', amount => 1000);
my $pages = value($node, q{SELECT attempt FROM payments.psp_feed WHERE feed = 'events'});
$node->safe_psql('postgres', q{SELECT payments.enable_feed('stripe', 'events', true)});
worker_had_its_turn('pause');
is(value($node, "SELECT attempts FROM payments.operation WHERE payment_id = '$second'"), 0, 'another payment waits as well');
is(value($node, q{SELECT attempt FROM payments.psp_feed WHERE feed = 'events'}), $pages, 'and so does a feed');
is(value($node, "SELECT o.status, q.try, p.status FROM payments.operation o JOIN payments.queue q USING (operation_id) JOIN payments.payment p ON p.payment_id = o.payment_id
	WHERE o.payment_id = '$first'"), 'awaiting_retry|0|awaiting_retry', 'the first one waits, is not in doubt, and has used no try');
my $worker = value($node, 'SELECT pid FROM payments.worker_status');
$node->safe_psql('postgres', q{SELECT payments.enable_feed('stripe', 'events', false); SELECT pg_terminate_backend(pid) FROM payments.worker_status});
ok(wait_until($node, "SELECT running AND pid <> $worker FROM payments.worker_status", 't'), 'a worker dies, and there is another');
worker_had_its_turn('another');
is(value($node, q{SELECT paused_until > now() + interval '50 min' FROM payments.psp_health}), 't', 'which keeps to the pause');
value($node, q{SELECT payments.resume_psp('stripe')});
at_rest($node);
is(value($node, "SELECT DISTINCT status FROM payments.payment WHERE payment_id IN ('$first', '$second')"), 'succeeded', 'afterwards both are sent');

# ---------- a pause that a person ends
$peer->faults({ fault => 'status_429', count => 1, retry_after => '86400' });
my $paused = create_payment($node, idempotency_key => "paused", amount => 1000);
ok(wait_until($node, q{SELECT paused_until > now() + interval '50 min' FROM payments.psp_health}), 'Retry-After holds for an hour at most');
ok(wait_until($node, "SELECT due_at BETWEEN now() + interval '50 min' AND now() + interval '61 min' FROM payments.queue WHERE psp = 'stripe'", 't'), 'for the payment as well');
value($node, q{SELECT payments.resume_psp('stripe')});
is(outcome($node, $paused), 'succeeded', 'resume_psp() ends it');

# ---------- somebody holds the row of a PSP
my $holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; SELECT FROM payments.psp WHERE psp = 'stripe' FOR UPDATE});
my $from = -s $node->logfile;
my $behind = create_payment($node, idempotency_key => 'behind', amount => 1000);
worker_had_its_turn("holder-$_") foreach 1 .. 3;
is(value($node, "SELECT attempts FROM payments.operation WHERE payment_id = '$behind'"), 0, 'nothing is sent while the address may be changing');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile, $from), qr/another address or secret/, 'and that is no error');
$holder->query_safe('COMMIT');
$holder->quit;
is(outcome($node, $behind), 'succeeded', 'then it goes out');

# ---------- an inquiry is no try either
fast_schedules($node, tries => 1, schedules => ['unknown']);
$peer->faults({ fault => 'lose_answer', count => 1, method => 'POST' }, { fault => 'status_429', count => 3, method => 'GET' });
is(outcome($node, create_payment($node, idempotency_key => 'inquiry', amount => 1000)), 'succeeded', 'an inquiry that was one too many is made again, with one try');

# ---------- what is no such word
no_inquiries($node);
stop_worker($node);
$node->safe_psql('postgres', q{UPDATE payments.psp_health SET noted_at = now() - interval '6 min'; SELECT pg_terminate_backend(pid) FROM payments.worker_status; SELECT payments.start_worker()});
ok(wait_until($node, 'SELECT running AND slowed = 0 FROM payments.worker_status'), 'of a limit that was known minutes ago a new worker knows nothing');
$peer->faults({ fault => 'status_429', code => 'lock_timeout', count => 1 });
is(outcome($node, create_payment($node, idempotency_key => 'locked', amount => 1000), undef) =~ /^(?:succeeded|awaiting_retry)$/, 1, 'an object that is locked');
worker_had_its_turn('locked');
is(value($node, 'SELECT slowed FROM payments.worker_status'), 0, 'says nothing of our pace');
at_rest($node);

$peer->faults({ fault => 'status_429', reason => 'resource-specific', count => 1 });
is(outcome($node, create_payment($node, idempotency_key => 'object', amount => 1000), undef), 'succeeded', 'nor does the reason that it is about one object');
is(value($node, 'SELECT slowed FROM payments.worker_status'), 0, 'say anything of it');

# One payment that the PSP refuses for ever, beside others that it takes.
stop_worker($node);
my $one = create_payment($node, idempotency_key => 'one', amount => 1000);
my $ref = value($node, "SELECT psp_ref FROM payments.operation WHERE payment_id = '$one'");
$peer->faults({ fault => 'status_429', ref => "^$ref", method => 'POST' });
value($node, 'SELECT payments.start_worker()');
foreach my $round (1 .. 6)
{
	ok(wait_until($node, "SELECT refused >= $round AND claimed_by IS NULL FROM payments.queue WHERE payment_id = '$one'", 't'), "refused $round times");
	create_payments("beside-$round", 8);
	ok(wait_until($node, "SELECT count(*) FROM payments.idempotency_key JOIN payments.payment USING (payment_id) WHERE key LIKE 'beside-$round-%' AND payment.status = 'succeeded'", 8), 'others are taken');
	$node->safe_psql('postgres', "UPDATE payments.queue q SET due_at = now() FROM payments.operation o WHERE o.operation_id = q.operation_id AND o.payment_id = '$one' AND q.claimed_by IS NULL AND q.refused <= $round");
}
$node->safe_psql('postgres', "UPDATE payments.queue q SET refused = 340, due_at = now() FROM payments.operation o WHERE o.operation_id = q.operation_id AND o.payment_id = '$one'");
ok(wait_until($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$one'", 'psp_unreachable'), 'what was refused for a day is a dead letter');
is(value($node, "SELECT count(*) FROM payments.payment WHERE payment_id <> '$one' AND status <> 'succeeded' AND psp = 'stripe'"), 0, 'and no other payment has waited for it');

$peer->faults({ fault => 'status_503', count => 1, retry_after => '3600' });
my $overloaded = create_payment($node, idempotency_key => 'overloaded', amount => 1000);
ok(wait_until($node, q{SELECT paused_until > now() + interval '50 min' FROM payments.psp_health}), '503 with Retry-After pauses the PSP');
ok(wait_until($node, "SELECT status FROM payments.payment WHERE payment_id = '$overloaded'", 'in_doubt'), 'and the payment is in doubt: it may have been processed');

check_clean($node);
$node->stop;
done_testing();
