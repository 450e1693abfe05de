# If this fails, a server cannot be stopped while a PSP hangs, DROP DATABASE
# waits for ever, a worker that died does not come back, one bad row stops all
# payments, or whoever owns a table takes over the server through the worker.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time usleep);

# The promise is a second for the worker, and twice that where a whole server
# stops or an extension goes.  Calls hang for two minutes if nobody ends them.
my $SECOND = 1;
my $SLACK  = 2;
my $HUNG   = 120;

my $node = new_payments_node('life', databases => 'postgres, second, no_such_database');
my $peer = start_peer();
create_stripe_psp($node, $peer);
fast_schedules($node);

sub worker_pid { return value($node, 'SELECT pid FROM payments.worker_status', @_) }

sub hang
{
	my ($n, $prefix, %options) = @_;
	my $dbname = $options{dbname} // 'postgres';

	$peer->faults({ fault => 'hold' });
	$node->safe_psql($dbname, join ";\n",
		map { 'SELECT FROM ' . PaymentsTest::create_payment_sql(idempotency_key => "$prefix-$_", amount => 1000) } 1 .. $n);
	return wait_until($node, 'SELECT in_flight FROM payments.worker_status', $n, undef, dbname => $dbname);
}

sub gone_after
{
	my ($pid) = @_;
	my $from = time;

	usleep(2_000) while kill(0, $pid) && time < $from + $HUNG;
	return time - $from;
}

# ---------- who it is
is( value($node, q{SELECT a.usename, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, r.rolreplication
	FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename WHERE a.pid = (SELECT pid FROM payments.worker_status)}),
	'payments_worker|f|f|f|f|f', 'the worker is payments_worker, with no rights of its own');

# ---------- SIGTERM in the middle of calls
my $made = 0;
my $elapsed = least_time($SECOND, sub {
	ok(hang(20, "term-$_[0]"), '20 calls hang');
	$made += 20;
	my $pid = worker_pid();
	value($node, "SELECT pg_terminate_backend($pid)");
	my $took = gone_after($pid);
	ok(wait_until($node, "SELECT pid <> $pid FROM payments.worker_status"), 'the launcher brings it back');
	$peer->release;
	at_rest($node);
	return $took;
});
cmp_ok($elapsed, '<', $SECOND, sprintf 'SIGTERM ends the worker in the middle of calls (%.0f ms)', $elapsed * 1000);
is(value($node, q{SELECT status, count(*) FROM payments.payment GROUP BY 1}), "succeeded|$made", 'what was in flight is found out by inquiry');

# ---------- holds that expire
value($node, q{SELECT hold_id FROM payments.hold(payments.create_account('expiring', 'EUR', 'asset'), payments.create_account('other', 'EUR', 'asset'), 5,
	expires_at => clock_timestamp() + interval '2 s')});
ok(wait_until($node, q{SELECT a.held_debits || ' ' || r.kind FROM payments.account a, payments.ledger_hold_resolution r WHERE a.code = 'expiring'}, '0 expire'),
	'the worker releases what has expired, unasked');
is(scalar($peer->charges), $made, 'and was charged once');

# ---------- pg_ctl stop -m fast in the middle of calls
my $log_from;
$elapsed = least_time($SLACK, sub {
	ok(hang(20, "stop-$_[0]"), '20 calls hang');
	$made += 20;
	my $from = time;
	$node->stop('fast');
	my $took = time - $from;
	$peer->release;
	$log_from = -s $node->logfile;
	$node->start;
	at_rest($node);
	return $took;
});
cmp_ok($elapsed, '<', $SLACK, sprintf 'stop -m fast (%.0f ms, the checkpoint and pg_ctl\'s waiting included)', $elapsed * 1000);
is(value($node, q{SELECT status, count(*) FROM payments.payment GROUP BY 1}), "succeeded|$made", 'all succeed after the restart');
is(scalar($peer->charges), $made, 'charged once each');
check_clean($node, 'restart: check() is clean');

# ---------- databases
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION payments; SELECT payments.setup()');
create_stripe_psp($node, $peer, dbname => 'second');
ok(wait_until($node, 'SELECT running FROM payments.worker_status', 't', undef, dbname => 'second'), 'a database made later gets its worker');
ok(hang(5, 'second', dbname => 'second'), 'its calls hang');
my $from = time;
$node->safe_psql('postgres', 'CREATE DATABASE third TEMPLATE second');
note(sprintf 'CREATE DATABASE TEMPLATE took %.1f s', time - $from);
is( value($node, q{SELECT armed, queued FROM payments.worker_status}, dbname => 'third'), 'f|5', 'the copy has the queue and is not armed');
ok(wait_until($node, 'SELECT running FROM payments.worker_status', 't', undef, dbname => 'second'), 'the worker comes back');
$node->safe_psql('postgres', sprintf q{CREATE TABLESPACE elsewhere LOCATION '%s'}, PostgreSQL::Test::Utils::tempdir());
is(sqlstate($node, 'ALTER DATABASE second CONNECTION LIMIT 100'), '', 'what leaves a database where it is ends no worker');
is(sqlstate($node, 'ALTER DATABASE second SET TABLESPACE elsewhere'), '', 'a database is moved to another tablespace beside its worker');
ok(wait_until($node, 'SELECT running FROM payments.worker_status', 't', undef, dbname => 'second'), 'who comes back');
$from = time;
# The server itself gives up after five seconds.
is(sqlstate($node, 'DROP DATABASE second'), '', sprintf 'a plain DROP DATABASE goes through while calls hang (%.1f s)', time - $from);
$peer->release;
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_from);
unlike($log, qr/FATAL:(?!.*administrator command)/, 'databases that are missing leave no FATAL in the log');

# ---------- DROP EXTENSION
$elapsed = least_time($SLACK, sub {
	my ($n) = @_;

	$peer->faults({ fault => 'hold' });
	$node->safe_psql('postgres', 'SELECT FROM ' . PaymentsTest::create_payment_sql(idempotency_key => "drop-$n", amount => 1234));
	ok($peer->wait_held(1), 'a call is in flight');
	isnt(sqlstate($node, 'DROP EXTENSION payments'), '', 'DROP EXTENSION without CASCADE is refused');
	is(value($node, 'SELECT count(*) FROM payments.payment'), $made + $n, 'and nothing is lost');
	$from = time;
	$node->safe_psql('postgres', 'SET payments.guard_ddl = off; DROP EXTENSION payments CASCADE');
	my $took = time - $from;
	is(value($node, q{SELECT count(*), sum(amount) FROM payments.payment}), join('|', $made + $n, 1000 * $made + 1234 * $n), 'the rows survive');
	$node->safe_psql('postgres', 'CREATE EXTENSION payments; SELECT payments.setup()');
	fast_schedules($node);
	$peer->release;
	at_rest($node);
	is(value($node, q{SELECT status, count(*) FROM payments.payment WHERE amount = 1234 GROUP BY 1}), "succeeded|$n", 'CREATE EXTENSION and setup() take up where it was');
	is(scalar(grep { $_->{amount} == 1234 } $peer->charges), $n, 'charged once');
	return $took;
});
cmp_ok($elapsed, '<', $SLACK, sprintf 'DROP EXTENSION ... CASCADE does not hang on the worker (%.0f ms)', 1000 * $elapsed);
check_clean($node, 'extension again: check() is clean');

# ---------- SIGHUP: it looks by itself once an hour only
$node->append_conf('postgresql.conf', "payments.poll_interval = '1 h'");
write_secrets($node, stripe => undef);
reload($node);
my $id = create_payment($node, idempotency_key => 'hup', amount => 1000);
is(outcome($node, create_payment($node, idempotency_key => 'beside', amount => 1000, psp => 'sandbox', payment_method => 'sandbox_ok')), 'succeeded', 'the worker has looked');
is(value($node, "SELECT status FROM payments.payment WHERE payment_id = '$id'"), 'initiated', 'without its secret a PSP gets no calls');
write_secrets($node);
reload($node);
is(outcome($node, $id), 'succeeded', 'SIGHUP rereads the secrets');

# ---------- poison: the ledger refuses what the PSP did
$node->safe_psql('postgres', q{
	SELECT payments.create_merchant('poisoned', psp => 'stripe');
	INSERT INTO payments.account_template (code, type, max_balance) VALUES ('merchant_balance', 'liability', 100);
	SELECT payments.create_account(code => 'merchant_balance', currency => 'EUR', type => 'liability', merchant => 'poisoned', max_balance => 100);
	DELETE FROM payments.account_template WHERE NOT builtin});
my $poison = create_payment($node, idempotency_key => 'poison', amount => 7777, merchant => 'poisoned');
my @healthy = map { create_payment($node, idempotency_key => "healthy-$_", amount => 1000 + $_) } 1 .. 20;
ok(wait_until($node, "SELECT reason FROM payments.dead_letter WHERE payment_id = '$poison'", 'cannot_complete'), 'a poison row ends as a dead letter');
at_rest($node);
is( value($node, q{SELECT count(*) FROM payments.payment p JOIN payments.idempotency_key k USING (payment_id) WHERE k.key LIKE 'healthy-%' AND p.status = 'succeeded'}),
	20, 'and does not stop the others');
is(value($node, "SELECT status, captured FROM payments.payment WHERE payment_id = '$poison'"), 'in_doubt|0', 'it is in doubt');
like(value($node, "SELECT detail FROM payments.dead_letter WHERE payment_id = '$poison'"), qr/./, 'the dead letter says why');
check_clean($node, 'poison: check() is clean');
# Limits are for good; so room is made below this one.
$node->safe_psql('postgres', q{
	SELECT payments.post(debit => (SELECT account_id FROM payments.account WHERE code = 'merchant_balance' AND merchant = 'poisoned'),
		credit => payments.create_account('set_aside', 'EUR', 'liability', 'poisoned'), amount => 7777)});
value($node, "SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE payment_id = '$poison'");
is(outcome($node, $poison), 'succeeded', 'redrive after the repair');
is(scalar(grep { $_->{amount} == 7777 } $peer->charges), 1, 'charged once');
is(value($node, "SELECT decision FROM payments.dead_letter WHERE payment_id = '$poison'"), 'redriven', 'the dead letter says who decided');
check_clean($node, 'redriven: check() is clean');

# ---------- the attack: whoever owns the tables puts code in the worker's way
# Not preloaded, so that no hook of ours forbids the trigger itself.
$node->stop;
my $hand = new_payments_node('by_hand', worker => 0, conf => "payments.poll_interval = '1 h'");
create_stripe_psp($hand, $peer);
is(value($hand, 'SELECT running FROM payments.worker_status'), 'f', 'not preloaded: no worker');
$id = create_payment($hand, idempotency_key => 'hand-0', amount => 1000);
like(value($hand, 'SELECT payments.start_worker()'), qr/^\d+$/, 'start_worker()');
is(outcome($hand, $id), 'succeeded', 'what waited is done');

# The poll interval is an hour, so only the latch explains less.
my $latency = least_time(0.5, sub {
	my $woken = create_payment($hand, idempotency_key => "hand-$_[0]", amount => 1000);
	is(outcome($hand, $woken), 'succeeded', 'a commit wakes it');
	return value($hand, qq{SELECT extract(epoch FROM min(a.claimed_at) - min(p.created_at)) FROM payments.attempt a JOIN payments.operation USING (operation_id)
		JOIN payments.payment p USING (payment_id) WHERE p.payment_id = '$woken'});
});
cmp_ok($latency, '<', 0.5, sprintf 'create_payment to claim took %.0f ms', 1000 * $latency);

$hand->safe_psql('postgres', q{
	CREATE TABLE public.attack (who text, said text);
	CREATE TABLE public.poison (amount bigint);
	GRANT ALL ON public.attack, public.poison TO PUBLIC;
	GRANT CREATE ON SCHEMA public TO payments_owner;
	SET ROLE payments_owner;
	CREATE FUNCTION public.attack() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			RESET ROLE;
			EXECUTE 'ALTER ROLE payments_owner SUPERUSER';
			INSERT INTO public.attack VALUES (current_user || '/' || session_user, 'succeeded');
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO public.attack VALUES (current_user || '/' || session_user, sqlstate);
		END;
		IF EXISTS (SELECT FROM public.poison WHERE amount = (SELECT p.amount FROM payments.payment p WHERE p.payment_id = OLD.payment_id)) THEN
			RAISE EXCEPTION 'poison';
		END IF;
		RETURN coalesce(NEW, OLD);
	END $$;
	CREATE TRIGGER attack BEFORE UPDATE OR DELETE ON payments.queue FOR EACH ROW EXECUTE FUNCTION public.attack();});
foreach my $n (1 .. 3)
{
	is(outcome($hand, create_payment($hand, idempotency_key => "attack-$n", amount => 1000)), 'succeeded', "payment $n goes through all the same");
}
is( value($hand, q{SELECT count(*) > 0, count(*) FILTER (WHERE said = 'succeeded') FROM public.attack}), 't|0', 'the trigger ran and could not make a superuser');
is( value($hand, q{SELECT DISTINCT who FROM public.attack}), 'payments_owner/payments_worker', 'it ran as payments_owner in a session of payments_worker');
is( value($hand, q{SELECT count(*) FROM pg_roles WHERE rolname LIKE 'payments%' AND rolsuper}), 0, 'no role of ours is a superuser');
# The worker claims one by one then, and leaves the row alone for a while.
$hand->safe_psql('postgres', 'INSERT INTO public.poison VALUES (6666)');
$poison = create_payment($hand, idempotency_key => 'attack-poison', amount => 6666);
is(outcome($hand, create_payment($hand, idempotency_key => 'attack-after', amount => 1000)), 'succeeded',
	'a trigger that raises at the claim of one row does not stop the next');
$hand->safe_psql('postgres', 'DROP TRIGGER attack ON payments.queue');
is(outcome($hand, $poison), 'succeeded', 'the row goes through when the trigger is gone');
at_rest($hand);

$elapsed = least_time($SLACK, sub {
	my $pid = value($hand, 'SELECT payments.start_worker()');
	value($hand, 'SELECT payments.stop_worker()');
	return gone_after($pid);
});
cmp_ok($elapsed, '<', $SLACK, sprintf 'stop_worker() ends it (%.0f ms)', $elapsed * 1000);
$id = create_payment($hand, idempotency_key => 'hand-stopped', amount => 1000);
is(value($hand, "SELECT status FROM payments.payment WHERE payment_id = '$id'"), 'initiated', 'payments are accepted meanwhile');
value($hand, 'SELECT payments.start_worker()');
is(outcome($hand, $id), 'succeeded', 'and done after start_worker()');

# Who is first is not to be told from outside, so all are told of the one that serves.
foreach my $round (1 .. 5)
{
	my $last = value($hand, 'SELECT payments.start_worker()');
	value($hand, 'SELECT payments.stop_worker()');
	gone_after($last);
	my @said = map { $_->{stdout} . $_->{stderr} } many_sessions($hand, 4, sub { return 'SELECT payments.start_worker();' });
	my $serving = value($hand, q{SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND a.usename = 'payments_worker' AND l.objsubid = 16});
	is("@said", "$serving $serving $serving $serving", 'four start one at the same moment: each gets the one that stays');
}
# Nobody else can take our locks and stop us: neither the worker's, nor those of seals and jobs.
my $served = value($hand, 'SELECT payments.start_worker()');
my $holder = $hand->background_psql('postgres');
value($hand, 'SELECT payments.stop_worker()');
gone_after($served);
$holder->query_safe("SELECT pg_advisory_lock(x'7061796d'::int, x'656e7473'::int), pg_advisory_lock(x'7061796d'::int, x'7365616c'::int), "
	. "pg_advisory_lock(1346981450, hashtext('check')), pg_advisory_lock(0, hashtext('check'))");
like(value($hand, 'SELECT payments.start_worker()'), qr/^\d+$/, 'it starts beside a stranger who knows the keys');
ok(value($hand, 'SELECT payments.seal_blocks() >= 0'), 'blocks are sealed');
value($hand, q{CALL payments.run_job('check')});
is(value($hand, q{SELECT result FROM payments.job_run WHERE job = 'check'}), 'done', 'and jobs run');
$holder->quit;
check_clean($hand);
$hand->stop;
done_testing();
