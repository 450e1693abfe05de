# If this fails, a worker that was stopped and started again is not there, a
# stranger or a role's setting keeps it away without a word, the last of many
# databases is never served, or what a PSP said while the extension was dropped
# is forgotten.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $DATABASES = 70;

sub worker_pid { return value($_[0], 'SELECT pid FROM payments.worker_status') }

sub pays
{
	my ($node, $key, $name, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(outcome($node, create_payment($node, idempotency_key => $key, amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok')), 'succeeded', $name);
}

# ---------- by hand: stop and start, as fast as can be
my $hand = new_payments_node('by_hand', worker => 0, conf => "payments.poll_interval = '1 h'\nmax_worker_processes = 4");
foreach my $round (1 .. 12)
{
	value($hand, 'SELECT payments.stop_worker()') if $round % 3;
	value($hand, 'SELECT payments.start_worker()');
	pays($hand, "round-$round", "round $round: after stop_worker() and start_worker() there is a worker");
}
# ---------- stopped while a call is in flight
my $peer = start_peer();
create_stripe_psp($hand, $peer);
$peer->faults({ fault => 'hold' });
my $in_flight = create_payment($hand, idempotency_key => 'in flight', amount => 1000);
ok($peer->wait_held(1), 'a call is in flight');
value($hand, 'SELECT payments.stop_worker()');
my $waits = create_payment($hand, idempotency_key => 'waits', amount => 1000);
$peer->release;
is(outcome($hand, $in_flight), 'succeeded', 'stopped by hand, the worker takes the answer first');
ok(wait_until($hand, 'SELECT pid IS NULL FROM payments.worker_status'), 'then it ends');
is(value($hand, "SELECT status FROM payments.payment WHERE payment_id = '$waits'"), 'initiated', 'and sends nothing more');
value($hand, 'SELECT payments.start_worker()');
is(outcome($hand, $waits), 'succeeded', 'until it is started');
# ---------- a lock that anybody can take keeps no worker out
my $pid = worker_pid($hand);
value($hand, 'SELECT payments.stop_worker()');
ok(wait_until($hand, 'SELECT pid IS NULL AND NOT running FROM payments.worker_status'), 'a worker started by hand ends when stopped');
my $stranger = $hand->background_psql('postgres');
$stranger->query_safe("SELECT pg_advisory_lock(x'7061796d'::int, x'656e7473'::int)");
like(value($hand, 'SELECT payments.start_worker()'), qr/^\d+$/, 'start_worker() beside a stranger who holds an advisory lock of the same number');
pays($hand, 'stranger', 'and it serves');
$stranger->quit;

# ---------- why none can start is said
value($hand, 'SELECT payments.stop_worker()');
ok(wait_until($hand, 'SELECT pid IS NULL FROM payments.worker_status'), 'none runs');
foreach my $case (
	[ 'ALTER ROLE payments_worker NOLOGIN', 'ALTER ROLE payments_worker LOGIN', qr/may not log in/ ],
	[ 'ALTER ROLE payments_worker RENAME TO other_worker', 'ALTER ROLE other_worker RENAME TO payments_worker', qr/role payments_worker does not exist: CREATE EXTENSION makes it/ ],
	[ 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC', 'GRANT CONNECT ON DATABASE postgres TO PUBLIC', qr/may not connect/ ])
{
	my ($break, $repair, $reason) = @$case;

	$hand->safe_psql('postgres', $break);
	my (undef, undef, $said) = $hand->psql('postgres', "SELECT payments.start_worker()");
	like($said, $reason, "start_worker() after $break");
	$hand->safe_psql('postgres', 'UPDATE payments.installation SET worker_enabled = true');
	like(value($hand, 'SELECT hint FROM payments.worker_status'), $reason, 'so does worker_status');
	$hand->safe_psql('postgres', $repair);
	like(value($hand, 'SELECT payments.start_worker()'), qr/^\d+$/, "a worker after $repair");
	value($hand, 'SELECT payments.stop_worker()');
	ok(wait_until($hand, 'SELECT pid IS NULL FROM payments.worker_status'), 'and none again');
}
foreach my $n (1 .. 4)
{
	$hand->safe_psql('postgres', "CREATE DATABASE other_$n");
	$hand->safe_psql("other_$n", 'CREATE EXTENSION payments; SELECT payments.setup();');
}
my $error = '';
foreach my $n (1 .. 4)
{
	last if $error ne '';
	(undef, undef, $error) = $hand->psql("other_$n", 'SELECT payments.start_worker()');
}
like($error, qr/PY408.*all places for background workers are taken|all places for background workers are taken/s, 'where max_worker_processes is used up, start_worker() says so');
$hand->stop;

# ---------- preloaded, beside one that was started by hand; and the last of many databases
my $node = new_payments_node('preloaded', databases => '', conf => "payments.poll_interval = '1 h'\nmax_worker_processes = 20");
create_stripe_psp($node, $peer);
fast_schedules($node);
$pid = value($node, 'SELECT payments.start_worker()');
# At the same moment: both are there for a while before they look whether they are alone.
$node->safe_psql('postgres', 'CREATE DATABASE at_once');
$node->safe_psql('at_once', 'CREATE EXTENSION payments; SELECT payments.setup();');
my $by_hand = $node->background_psql('at_once');
$node->append_conf('postgresql.conf', "payments.databases = 'at_once'\npost_auth_delay = 3");
reload($node);
my $started = $by_hand->query_safe('SELECT payments.start_worker()');
$by_hand->quit;
$node->append_conf('postgresql.conf', 'post_auth_delay = 0');
reload($node);
ok(wait_until($node, 'SELECT pid FROM payments.worker_status', $started, undef, dbname => 'at_once'), 'started by hand and by the launcher at once: start_worker() tells of the one that serves');
$node->safe_psql('postgres', 'CREATE DATABASE served_last');
$node->safe_psql('served_last', 'CREATE EXTENSION payments; SELECT payments.setup();');
my $log_from = -s $node->logfile;
$node->append_conf('postgresql.conf', sprintf "payments.databases = '%s'", join ', ', 'postgres', (map { "none_$_" } 1 .. $DATABASES), 'served_last');
reload($node);
my $last = '0';
foreach my $turn (1 .. 3)
{
	ok(wait_until($node, "SELECT running AND pid <> $last FROM payments.worker_status", 't', undef, dbname => 'served_last'), "turn $turn: the last of many databases has its worker");
	$last = value($node, 'SELECT pid FROM payments.worker_status', dbname => 'served_last');
	value($node, "SELECT pg_terminate_backend($last)");
}
unlike(slurp_file($node->logfile, $log_from), qr/another payments worker serves/, 'the launcher leaves alone what is served by one that was started by hand');
is(worker_pid($node), $pid, 'which serves on');
value($node, 'SELECT payments.stop_worker()');
ok(wait_until($node, "SELECT NOT running AND pid <> $pid FROM payments.worker_status"), 'stopped, the launcher\'s takes its place, asleep, and does not count as running');
value($node, 'SELECT payments.start_worker()');
is(value($node, 'SELECT running FROM payments.worker_status'), 't', 'until it is started');
pays($node, 'awake', 'and serves');

# ---------- the role may not log in: said in the log, and repaired without a restart
$log_from = -s $node->logfile;
$node->safe_psql('postgres', 'ALTER ROLE payments_worker NOLOGIN');
value($node, 'SELECT pg_terminate_backend(pid) FROM payments.worker_status');
ok(wait_until($node, 'SELECT hint FROM payments.worker_status', qr/may not log in/), 'worker_status says that the role may not log in');
$node->wait_for_log(qr/cannot start the payments worker for database "postgres": role payments_worker may not log in/, $log_from);
$node->safe_psql('postgres', 'ALTER ROLE payments_worker LOGIN');
pays($node, 'may again', 'the launcher starts it when it may again');

# ---------- nor does a database that lets nobody in
$log_from = -s $node->logfile;
$node->safe_psql('postgres', 'ALTER DATABASE served_last ALLOW_CONNECTIONS false');
value($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'served_last'});
$node->wait_for_log(qr/cannot start the payments worker for database "served_last": the database allows no connections: ALTER DATABASE/, $log_from);
$node->safe_psql('postgres', 'ALTER DATABASE served_last ALLOW_CONNECTIONS true');
ok(wait_until($node, 'SELECT running FROM payments.worker_status', 't', undef, dbname => 'served_last'), 'and it is served again when it does');

# ---------- an answer that comes while the extension is away
foreach my $case ([ 'dropped', '' ], [ 'not set up', 'CREATE EXTENSION payments' ], [ 'dropped for longer than the lease', '', 'UPDATE payments.queue SET due_at = clock_timestamp()' ])
{
	my ($name, $before, $lapse) = @$case;

	no_inquiries($node);
	$peer->faults({ fault => 'hold' });
	my $id = create_payment($node, idempotency_key => $name, amount => 4321);
	ok($peer->wait_held(1), "$name: a call is in flight");
	$node->safe_psql('postgres', 'SET payments.guard_ddl = off; DROP EXTENSION payments CASCADE');
	$node->safe_psql('postgres', $_) foreach grep { $_ } $before, $lapse;
	$peer->release;
	is($node->safe_psql('postgres', "SELECT count(*) FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'"), '0',
		'its answer waits: nothing is written without guards');
	$node->safe_psql('postgres', 'CREATE EXTENSION payments') unless $before;
	# Somebody pays at once, so that the worker has something to claim; the answer that waits comes before that.
	$node->safe_psql('postgres', "SELECT payments.setup(); SELECT payments.create_payment('beside $name', 1000, 'EUR', psp => 'sandbox', payment_method => 'sandbox_ok')");
	is(outcome($node, $id), 'succeeded', 'and is taken up when the extension is back');
	is(value($node, "SELECT count(*) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = '$id'"), '1', 'without another call');
	check_clean($node, "$name: check() is clean");
}
# To what else was asked.  What came meanwhile shows in nothing: a second is for the worker to have had its turn.
$node->append_conf('postgresql.conf', "payments.lease = '1 h'");
reload($node);
foreach my $case (
	[ 'whose account it is', '^/v1/account$', 'pg_terminate_backend(pid) FROM payments.worker_status' ],
	[ 'a page', 'balance_transactions', q{payments.enable_feed('stripe', 'settlement')} ])
{
	my ($name, $path, $ask) = @$case;

	$peer->faults({ fault => 'hold', path => $path, count => 1 });
	value($node, "SELECT $ask");
	ok($peer->wait_held(1), "$name: the question is on its way");
	$node->safe_psql('postgres', 'SET payments.guard_ddl = off; DROP EXTENSION payments CASCADE');
	$peer->release;
	$node->safe_psql('postgres', 'SELECT pg_sleep(1)');
	$node->safe_psql('postgres', 'CREATE EXTENSION payments; SELECT payments.setup()');
	my $id = create_payment($node, idempotency_key => $name, amount => 5432);
	is(outcome($node, $id), 'succeeded', "$name: when the extension is back the worker goes on");
}
ok(wait_until($node, q{SELECT pages, tries FROM payments.psp_feed WHERE feed = 'settlement'}, qr/^[1-9]\d*\|0$/), 'the page is stored then');
check_clean($node);

# ---------- servers without a place for it, and those that pg_upgrade starts
$log_from = -s $node->logfile;
$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
$node->restart;
$node->wait_for_log(qr/could not register the payments worker for database "postgres"\n.*HINT:  Raise max_worker_processes/, $log_from);
$node->append_conf('postgresql.conf', 'max_worker_processes = 20');
$node->stop;
PostgreSQL::Test::Utils::system_or_bail($node->installed_command('pg_ctl'), '-w', '-s', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start');
$node->_update_pid(1);
is(value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^payments'}), 0, 'where pg_upgrade works there is no launcher, and nothing is sent');
$node->stop;
done_testing();
