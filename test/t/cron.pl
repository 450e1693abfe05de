# If this fails, the nightly jobs do not run by pg_cron, or run twice, or a job
# that was killed leaves out what it had not done, or does again what it had;
# or pg_cron stops and nobody is told.
#
# For real: pg_cron preloaded, once starting jobs as background workers and
# once by connections, and a minute waited for.  @reboot jobs run when pg_cron
# starts, so what comes after a crash needs no waiting.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

my $DAYS = 12;

sub cron_node
{
	my ($name, $workers) = @_;

	my $node = new_payments_node($name, databases => '', start => 0);

	$node->append_conf('postgresql.conf', join "\n",
		q{shared_preload_libraries = 'pg_cron, payments'}, q{cron.database_name = 'postgres'}, sprintf(q{cron.host = '%s'}, $node->host),
		"cron.use_background_workers = $workers", q{restart_after_crash = on}, q{timezone = 'America/New_York'});
	$node->start;
	$node->safe_psql('postgres', q{
		CREATE EXTENSION pg_cron;
		CREATE EXTENSION payments;
		CREATE ROLE jobs LOGIN IN ROLE payments_admin;
		GRANT USAGE ON SCHEMA cron TO jobs;
		CREATE DATABASE "the shop";
	});
	foreach my $db ('postgres', 'the shop')
	{
		$node->safe_psql($db, qq{
			CREATE EXTENSION IF NOT EXISTS payments; SELECT payments.setup();
			CREATE TABLE public.billed (who text, day timestamptz);
			-- How many days the slow one bills before it waits for us, where we look; pg_cron itself waits for it.
			CREATE TABLE public.gate AS SELECT CASE current_database() WHEN 'postgres' THEN 4 ELSE 1000 END AS days;
			-- Knows nothing of what it has done before: once is the frame's promise.
			CREATE FUNCTION public.bill(from_time timestamptz, to_time timestamptz, who text, pause float) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS \$\$
			BEGIN
				INSERT INTO public.billed VALUES (who, from_time);
				PERFORM pg_sleep(pause);
				WHILE who = 'slow' AND (SELECT count(*) > max(g.days) FROM public.billed b, public.gate g WHERE b.who = 'slow') LOOP
					PERFORM pg_sleep(0.05);
				END LOOP;
				RETURN jsonb_build_object('left', extract(day FROM date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - to_time));
			END \$\$;
			ALTER FUNCTION public.bill OWNER TO jobs;
			GRANT INSERT, SELECT ON public.billed, public.gate TO jobs;
			INSERT INTO payments.job (job, schedule, command, arguments, catch_up, period, builtin) VALUES
				('bill', '* * * * *', 'public.bill', '{"who": "fast", "pause": 0}', 'periods', '1 day', false),
				('bill_slowly', '\@reboot', 'public.bill', '{"who": "slow", "pause": 0.4}', 'periods', '1 day', false);
			-- A shipped one, enabled, with something to do.
			INSERT INTO payments.job (job, schedule, command, arguments, alone, builtin)
				SELECT job, '* * * * *', command, arguments || '{"older_than": "2 months"}', alone, false FROM payments.job WHERE job = 'retire_event';
			SELECT payments.make_partitions(since => now() - interval '4 months');
			-- As if nothing had run for $DAYS days.
			INSERT INTO payments.job_state SELECT unnest(ARRAY['bill', 'bill_slowly']), (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '$DAYS days')::text || '+00', now();
		});
	}
	return $node;
}

sub as_jobs { my ($node, $sql) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'jobs' ]) }
sub billed_once
{
	my ($node, $who, $name, $db) = @_;

	is(value($node, "SELECT count(*), count(DISTINCT day) FROM public.billed WHERE who = '$who'", dbname => $db // 'postgres'), "$DAYS|$DAYS", $name);
}

my $workers = cron_node('cron_workers', 'on');
my $connections = cron_node('cron_connections', 'off');

# ---------- schedule_jobs(): creates, alters, removes, and leaves others alone ----------

$workers->safe_psql('postgres', q{
	SELECT cron.schedule('payments:postgres:check', '0 0 1 1 *', 'SELECT 1');
	SELECT cron.schedule_in_database('mine', '0 0 1 1 *', 'SELECT 2', 'postgres', 'jobs');
	SELECT cron.schedule_in_database('payments:postgres:x:check', '0 0 1 1 *', 'SELECT 3', 'postgres', 'jobs');
});
my $jobs = value($workers, 'SELECT count(*) FROM payments._jobs() WHERE enabled');
is(as_jobs($workers, 'SELECT count(*) FILTER (WHERE action = $$created$$), count(*) FROM payments.schedule_jobs()'), "$jobs|$jobs", 'all jobs are created');
is(as_jobs($workers, 'SELECT DISTINCT action FROM payments.schedule_jobs()'), 'unchanged', 'the second time nothing changes');
as_jobs($connections, 'SELECT * FROM payments.schedule_jobs()');
$workers->safe_psql('postgres', q{
	INSERT INTO payments.job (job, schedule, command, builtin) VALUES ('check', '18 3 * * *', 'payments.check', false);
	INSERT INTO payments.job (job, schedule, command, arguments, catch_up, max_steps, enabled, builtin)
		SELECT job, '18 3 * * *', command, arguments, catch_up, max_steps, false, false FROM payments.job WHERE job = 'verify';
	UPDATE cron.job SET active = false WHERE jobname = 'payments:postgres:verify_all';
	UPDATE cron.job SET database = 'the shop' WHERE jobname = 'payments:postgres:seal_blocks';
});
is(as_jobs($workers, q{SELECT string_agg(job || ' ' || action, ', ' ORDER BY job) FROM payments.schedule_jobs() WHERE action <> 'unchanged'}),
	'check altered, seal_blocks altered, verify removed, verify_all paused', 'changed ones are altered, disabled ones removed, paused ones stay so');
is(value($workers, q{SELECT string_agg(schedule || database, ', ' ORDER BY jobname) FROM cron.job WHERE username = 'jobs' AND jobname ~ '^payments:postgres:(check|seal_blocks|verify)$'}),
	'18 3 * * *postgres, */10 * * * *postgres', 'pg_cron has it so');
is(value($workers, q{SELECT string_agg(command, ', ' ORDER BY command) FROM cron.job WHERE jobname = 'payments:postgres:check' AND username = 'postgres' OR jobname IN ('mine', 'payments:postgres:x:check')}),
	'SELECT 1, SELECT 2, SELECT 3', 'jobs of others, and others of the same role, are not touched');
is(value($workers, q{SELECT problem FROM payments.schedule_status WHERE job = 'bill_slowly'}), '', 'the status has nothing to complain of');

# ---------- into another database, which cannot reach pg_cron ----------

is(sqlstate($workers, 'SELECT * FROM payments.schedule_jobs()', dbname => 'the shop'), 'PY605', 'another database cannot tell pg_cron');
my $statements = value($workers, q{SELECT statement FROM payments.schedule_statements(username => 'jobs')}, dbname => 'the shop');
$workers->safe_psql('postgres', $statements) foreach 1 .. 2;
is(value($workers, q{SELECT count(*) FILTER (WHERE database = 'the shop'), count(*) FILTER (WHERE database = 'postgres') FROM cron.job WHERE jobname LIKE 'payments:the shop:%' AND username = 'jobs'}),
	($jobs - 1) . '|1', 'its statements, run twice, make each job once; the log of pg_cron is purged where it is');
is(value($workers, q{SELECT string_agg(job || ' ' || action, ', ' ORDER BY job) FROM payments.schedule_jobs('the shop', username => 'jobs') WHERE action <> 'unchanged'}),
	'check altered, verify removed', 'with the rows here, pg_cron can be told from here');
$workers->safe_psql('postgres', $statements);
is(as_jobs($workers, 'SELECT DISTINCT action FROM payments.schedule_jobs() ORDER BY 1'), "paused\nunchanged", 'and ours are still the same');

# ---------- killed in the middle ----------

foreach my $node ($workers, $connections)
{
	my $how = $node->name;

	$node->restart;
	ok(wait_until($node, q{SELECT last_steps >= 3 FROM payments.schedule_status WHERE job = 'bill_slowly'}, 't'), "$how: \@reboot runs it when the server starts");
	like(value($node, q{SELECT string_agg(application_name, ',') FROM pg_stat_activity WHERE datname = 'postgres' AND application_name LIKE 'payments %'}),
		qr/^payments bill_slowly: \d+\/$DAYS rows \(\d+ %\), \d+\/s$/, 'pg_stat_activity shows how far it is');
	like(value($node, q{SELECT job, rows >= 3 AND rows < total AND percent = round(100.0 * rows / total, 1), rate < 3, eta > started_at, total,
		activity FROM payments.progress}),
		qr/^bill_slowly\|t\|t\|t\|$DAYS\|payments bill_slowly: \d+\/$DAYS rows \(\d+ %\), \d+\/s$/, 'and progress, with when it will be through');
	my ($code, $stdout, $stderr) = $node->psql('postgres', q{CALL payments.run_job('bill_slowly')});
	like("$code $stderr", qr/^0 .*runs already in another session/, 'a second run leaves');

	my $pid = value($node, q{SELECT pid FROM payments.job_run WHERE job = 'bill_slowly' AND result = 'running'});
	if ($node == $workers)
	{
		# pg_cron starts again with the server, and @reboot with it.
		kill 'KILL', $pid;
		ok(wait_until($node, q{SELECT count(*) > 0 FROM payments.job_run WHERE job = 'bill_slowly' AND result = 'killed'}), "$how: after kill -9 and the crash, pg_cron runs it again");
	}
	else
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
		ok(wait_until($node, q{SELECT problem LIKE 'killed after%' FROM payments.schedule_status WHERE job = 'bill_slowly'}), "$how: the status tells that it was killed");
		is(value($node, 'SELECT count(*) FROM payments.progress'), 0, 'and it is under way no more');
		$node->restart;
	}
	$node->safe_psql('postgres', 'UPDATE public.gate SET days = 1000');
	ok(wait_until($node, q{SELECT last_result FROM payments.schedule_status WHERE job = 'bill_slowly'}, 'done'), 'the next run completes it')
	  or diag($node->safe_psql('postgres', 'SELECT * FROM payments.job_run; SELECT * FROM cron.job_run_details'));
	billed_once($node, 'slow', 'without doubles and without gaps');
	is(value($node, qq{SELECT string_agg(result, ',' ORDER BY run_id), sum(steps) FROM payments.job_run WHERE job = 'bill_slowly'}),
		"killed,done|$DAYS", 'each step is in one run');
	check_clean($node);
}

# ---------- a minute ----------

my @runs = ([ $workers, 'postgres' ], [ $workers, 'the shop' ], [ $connections, 'postgres' ]);
foreach my $run (@runs)
{
	my ($node, $db) = @$run;

	ok(wait_until($node, q{SELECT count(*) > 0 FROM payments.job_run WHERE job = 'bill' AND result = 'done'}, 't', undef, dbname => $db),
		$node->name . " runs a job in $db at the minute")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM cron.job_run_details'));
	billed_once($node, 'fast', 'and all that was missed is done, once', $db);
	is(value($node, q{SELECT min(run_by), bool_and(pid <> 0) FROM payments.job_run WHERE job = 'bill'}, dbname => $db), 'jobs|t', 'by the role that scheduled it');
	ok(wait_until($node, q{SELECT count(*) > 0 FROM payments.job_run WHERE job = 'retire_event' AND result = 'done'}, 't', undef, dbname => $db), 'retention runs by pg_cron');
	is(value($node, q{SELECT count(*) >= 1 AND bool_and(table_name = 'event' AND retired_by = 'jobs' AND to_time <= now() - interval '2 months') FROM payments.partition_retired}, dbname => $db), 't', 'and takes months out');
}
ok(wait_until($workers, q{SELECT bool_and(status = 'succeeded') FROM cron.job_run_details WHERE username = 'jobs' AND command LIKE '%''bill'')'}), 'pg_cron says so too');

# ---------- by hand, without pg_cron's help ----------

$workers->safe_psql('postgres', 'CALL payments.run_job($$' . $_ . '$$)', extra_params => [ '-U', 'jobs' ])
  foreach split /\n/, value($workers, 'SELECT job FROM payments.job WHERE builtin');
ok(wait_until($workers, q{SELECT string_agg(job || ' ' || last_result, ', ') FROM payments.schedule_status WHERE last_result <> 'done'}, ''), 'every shipped job runs by hand');
ok(wait_until($workers, q{SELECT string_agg(job, ', ') FROM payments.schedule_status WHERE problem IS NOT NULL}, ''), 'the status has no problem');
$workers->safe_psql('postgres', q{UPDATE cron.job_run_details SET start_time = start_time - interval '20 days', end_time = end_time - interval '20 days' WHERE runid < (SELECT max(runid) FROM cron.job_run_details);
	INSERT INTO cron.job_run_details (jobid, username, database, command, start_time) VALUES (1, 'postgres', 'postgres', 'CALL payments.run_job(''theirs'')', '2020-01-01');
	INSERT INTO cron.job_run_details (jobid, username, database, command, start_time) VALUES (2, 'jobs', 'postgres', 'SELECT 2', '2020-01-01');});
$workers->safe_psql('postgres', q{CALL payments.run_job('purge_job_run_details')}, extra_params => [ '-U', 'jobs' ]);
is(value($workers, q{SELECT count(*) FILTER (WHERE username = 'jobs' AND database = 'postgres' AND command LIKE 'CALL payments.%' AND end_time < now() - interval '14 days'),
	count(*) FILTER (WHERE start_time = '2020-01-01') FROM cron.job_run_details}), '0|2', 'the log of pg_cron is purged of our jobs, and of no others');
my $purge = value($workers, q{SELECT command FROM cron.job WHERE jobname = 'payments:the shop:purge_job_run_details'});
like(value($workers, "SET ROLE jobs; $purge RETURNING database"), qr/^(the shop\n?)+$/, 'another database has its own purge');

# ---------- silence ----------

$workers->safe_psql('postgres', q{
	UPDATE payments.job_run SET started_at = started_at - interval '2 days' WHERE job = 'check';
	UPDATE payments.job SET added_at = added_at - interval '2 days' WHERE job = 'check';
	UPDATE payments.installation SET set_up_at = set_up_at - interval '2 days';
});
is(value($workers, q{SELECT problem FROM payments.schedule_status WHERE job = 'check'}) =~ s/; its last word.*//r, 'pg_cron is silent: not run when it was due', 'the status warns of a job that did not run');
is(value($workers, q{SELECT lag > interval '10 minutes' FROM payments.schedule_status WHERE job = 'check'}), 't', 'and says how late it is');
$workers->safe_psql('postgres', q{SELECT pg_terminate_backend(launcher_pid) FROM payments._cron_state()});
ok(wait_until($workers, q{SELECT problem FROM payments.schedule_status WHERE job = 'fold_hot_accounts'}, qr/launcher does not run/), 'the status warns that the launcher is gone');
is(as_jobs($workers, 'SELECT DISTINCT action FROM payments.schedule_jobs(remove => true)'), 'removed', 'all jobs can be removed');
is(value($workers, q{SELECT count(*) FROM cron.job WHERE username = 'jobs' AND jobname ~ '^payments:postgres:[^:]*$'}), '0', 'and are');

log_lacks_deadlocks($_) foreach $workers, $connections;
$_->stop foreach $workers, $connections;
done_testing();
