# If this fails, the nightly reconciliation, killed in the middle, applies a
# line of the PSP twice or not at all, posts a payout or a fee twice, or finds
# the same discrepancy anew each night.
#
# For real: pg_cron runs the shipped job on a live server.  A payment that
# somebody holds locked stops it inside of a step, where it is killed: once with
# kill -9, which takes the whole server down, once with pg_terminate_backend().
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PaymentsTest;
use Test::More;

# Payments: outcome unknown, accepted and not sent, succeeded without a word of the fee; and charges of nobody's.
my ($DOUBT, $UNSENT, $KNOWN, $ORPHANS) = (2000, 2000, 1000, 20);
my $ALL = $DOUBT + $UNSENT + $KNOWN;
my $LINES = $ALL + $ORPHANS + 2 * 2;    # two files, each with a fee and a payout

my $node = new_payments_node('reconcile_job', databases => '', start => 0);
$node->append_conf('postgresql.conf', join "\n",
	q{shared_preload_libraries = 'pg_cron, payments'}, q{cron.database_name = 'postgres'},
	'cron.use_background_workers = on', 'restart_after_crash = on', 'max_prepared_transactions = 2');
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_cron;
	CREATE EXTENSION payments;
	SELECT payments.setup();
	CREATE ROLE jobs LOGIN IN ROLE payments_admin;
	GRANT USAGE ON SCHEMA cron TO jobs;
	-- Ours wins over the shipped one, and is all that pg_cron is to run here.
	INSERT INTO payments.job (job, schedule, command, arguments, catch_up, period, delay, alone, max_steps, enabled, description, builtin)
		SELECT job, CASE job WHEN 'reconcile' THEN '* * * * *' ELSE schedule END, command, arguments, catch_up, period, delay, alone, max_steps,
			job = 'reconcile', description, false FROM payments.job WHERE builtin;
	SELECT payments.create_psp('tap', 'stripe', secret => 'stripe'), payments.arm();
});

# ---------- payments, without a PSP: the answers are ours
$node->safe_psql('postgres', qq{
	CREATE TABLE public.made (n int PRIMARY KEY, id uuid);
	CREATE FUNCTION public.make(since int, til int) RETURNS void LANGUAGE sql AS \$\$
		INSERT INTO public.made SELECT n, p.payment_id FROM generate_series(since, til) n,
			LATERAL payments.create_payment('job-' || n, 1000 + n, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') p \$\$;
	CREATE FUNCTION public.answer(http int, answered text) RETURNS bigint LANGUAGE sql AS \$\$
		SELECT count(payments.complete(c.operation_id, c.attempt, http, '{}', convert_to(
			format(answered, m.n, 1000 + m.n), 'UTF8')))
		FROM (SELECT x.* FROM payments.claim('tap', psp => 'tap', max => 5000) x) c JOIN payments.operation o ON o.operation_id = c.operation_id JOIN public.made m ON m.id = o.payment_id \$\$;
	SELECT public.make(1, $DOUBT);
});
value($node, q{SELECT public.answer(500, '{}')}) foreach 1 .. 10;
# Nobody asks about them meanwhile, however slow the machine is.
$node->safe_psql('postgres', q{UPDATE payments.queue SET due_at = now() + interval '1 day'});
$node->safe_psql('postgres', "SELECT public.make($DOUBT + $UNSENT + 1, $ALL)");
value($node, q{SELECT public.answer(200, '{"id": "pi_%1$s", "object": "payment_intent", "amount": %2$s, "amount_received": %2$s, "amount_capturable": 0, "currency": "eur", "status": "succeeded"}')}) foreach 1 .. 10;
$node->safe_psql('postgres', "SELECT public.make($DOUBT + 1, $DOUBT + $UNSENT)");
is(value($node, q{SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM payments.payment GROUP BY 1) x}),
	"in_doubt $DOUBT, initiated $UNSENT, succeeded $KNOWN", 'payments of three kinds');

# ---------- what the PSP says: all of them were charged, and some more
$node->safe_psql('postgres', qq{
	CREATE FUNCTION public.file(odd int) RETURNS text LANGUAGE sql AS \$\$
		SELECT string_agg(line, E'\\n') || E'\\n' FROM (
			SELECT 'kind,entry_id,psp_object_id,psp_payment_id,reference,gross,fee,net,currency,occurred_at,payout_ref' AS line
			UNION ALL
			(SELECT format('charge,txn_%1\$s,ch_%1\$s,pi_%1\$s,%2\$s,%3\$s,7,%4\$s,EUR,%5\$s,po_%6\$s', m.n, o.psp_ref, 1000 + m.n, 993 + m.n, now(), odd)
			 FROM public.made m JOIN payments.operation o ON o.payment_id = m.id WHERE m.n % 2 = odd ORDER BY m.n)
			UNION ALL
			SELECT format('charge,txn_x%1\$s,ch_x%1\$s,pi_x%1\$s,,%1\$s,0,%1\$s,EUR,%2\$s,', n, now()) FROM generate_series(1, $ORPHANS) n WHERE n % 2 = odd
			UNION ALL
			SELECT format('fee,txn_f%1\$s,,,,-50,0,-50,EUR,%2\$s,po_%1\$s', odd, now())
			UNION ALL
			SELECT format('payout,txn_p%1\$s,,,,-%2\$s,0,-%2\$s,EUR,%3\$s,po_%1\$s', odd, (SELECT sum(993 + m.n) - 50 FROM public.made m WHERE m.n % 2 = odd), now())) f \$\$;
});
foreach my $odd (1, 0)
{
	is(value($node, qq{SELECT lines FROM payments.import_settlement('tap', 'csv', public.file($odd), options => '{"amounts": "minor", "totals": "payout"}')}), $LINES / 2, 'a file of the PSP');
}

# Holds the payment of a number until it is let go, through crashes as well, and without a session that a test must keep alive.
sub hold
{
	my ($n) = @_;

	$node->safe_psql('postgres', "BEGIN; SELECT FROM payments.payment WHERE payment_id = (SELECT id FROM public.made WHERE n = $n) FOR UPDATE; PREPARE TRANSACTION 'held'");
	return;
}
sub let_go { $node->safe_psql('postgres', q{ROLLBACK PREPARED 'held'}); return }

# Waits for the run to be stopped inside of a step; returns its process.
my $IN_A_STEP = q{SELECT count(*) FROM payments.job_run r JOIN pg_stat_activity a ON a.pid = r.pid WHERE r.job = 'reconcile' AND r.result = 'running'
	AND a.wait_event_type = 'Lock' AND r.run_id = (SELECT max(run_id) FROM payments.job_run)};
sub stopped_in_a_step
{
	my ($name) = @_;

	ok(wait_until($node, $IN_A_STEP, '1'), $name)
	  or diag($node->safe_psql('postgres', 'SELECT * FROM payments.job_run; SELECT * FROM cron.job_run_details'));
	return value($node, q{SELECT pid FROM payments.job_run WHERE result = 'running'});
}
my $APPLIED = q{SELECT count(*) FILTER (WHERE status = 'succeeded'), (SELECT count(*) FROM payments.movement WHERE kind = 'capture'), (SELECT count(*) FROM payments.movement WHERE kind = 'fee') FROM payments.payment};

# ---------- killed with the whole server, in the first file
hold($ALL - 1);
is(value($node, q{SELECT string_agg(job || ' ' || action, ', ') FROM payments.schedule_jobs(username => 'jobs') WHERE action <> 'unchanged'}), 'reconcile created', 'pg_cron is to run the job');
my $pid = stopped_in_a_step('pg_cron runs it at the minute, and it comes to a payment that somebody holds');
is(value($node, 'SELECT run_by, steps FROM payments.job_run'), 'jobs|1', 'one step is done');
like(value($node, q{SELECT job, rows, total, percent, pid, rate > 0 AND eta > started_at, activity FROM payments.progress}),
	qr/^reconcile\|2000\|(502\d)\|39\.8\|$pid\|t\|payments reconcile: 2000\/\1 rows \(39 %\), \d+\/s$/, 'another session sees how far it is, within a line or two');
my $before = value($node, $APPLIED);
kill 'KILL', $pid;
ok(wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'payments reconcile%'}, '0'), 'kill -9, and the server comes back');
is(value($node, $APPLIED), $before, 'what the step had done is gone, and no more');
is(value($node, 'SELECT applied_to > 0, posted_at, compared_at FROM payments.settlement_progress ORDER BY batch_id'), "t||\nf||", 'as is how far it thought to be');
check_clean($node, 'check() is clean');

# ---------- ended by hand, in the second file
let_go();
hold($ALL);
$pid = stopped_in_a_step('the next run goes on, to another payment that somebody holds');
is(value($node, q{SELECT string_agg(result, ',' ORDER BY run_id) FROM payments.job_run}), 'killed,running', 'and knows that the first was killed');
is(value($node, q{SELECT count(*) FILTER (WHERE posted_at IS NOT NULL), (SELECT count(*) FROM payments.settlement_posting) FROM payments.settlement_progress}), '1|2', 'the first file is posted');
is(value($node, 'SELECT count(*) FROM payments.discrepancy WHERE status = $$open$$'), '0', 'and nothing compared yet');
value($node, "SELECT pg_terminate_backend($pid)");
ok(wait_until($node, q{SELECT problem LIKE 'killed after%' FROM payments.schedule_status WHERE job = 'reconcile'}), 'ended by hand; the status tells');
let_go();

# ---------- the third completes it
ok(wait_until($node, q{SELECT string_agg(result, ',' ORDER BY run_id) FROM payments.job_run}, qr/^killed,killed,done/), 'the next run completes it')
  or diag($node->safe_psql('postgres', 'SELECT * FROM payments.job_run; SELECT * FROM cron.job_run_details'));

sub all_is_done_once
{
	my ($name) = @_;

	is(value($node, 'SELECT count(*) FROM payments.payment p JOIN public.made m ON m.id = p.payment_id WHERE p.status = $$succeeded$$ AND p.captured = 1000 + m.n'), $ALL, "$name: every payment has succeeded, with its amount");
	is(value($node, 'SELECT count(*) FROM payments.queue'), 0, "$name: nothing is left to send");
	is(value($node, q{SELECT kind, count(*), count(DISTINCT payment_id), sum(amount) FROM payments.movement GROUP BY 1 ORDER BY 1}),
		"capture|$ALL|$ALL|" . ($ALL * 1000 + $ALL * ($ALL + 1) / 2) . "\nfee|$ALL|$ALL|" . 7 * $ALL, "$name: each is captured once, with one fee");
	is(value($node, q{SELECT count(*) FROM (SELECT payment_id FROM payments.payment_status WHERE status = 'succeeded' GROUP BY 1 HAVING count(*) > 1) x}), 0, "$name: none has succeeded twice");
	is(value($node, q{SELECT event, count(*), count(DISTINCT batch_id), count(*) = count(DISTINCT reference) FROM payments.settlement_posting GROUP BY 1 ORDER BY 1}),
		"settled_fee|2|2|t\nsettled_payout|2|2|t", "$name: each file is posted once");
	is(value($node, q{SELECT count(*), count(DISTINCT s.reference) FROM payments.settlement_posting s JOIN payments.posting p ON p.reference LIKE s.reference || ':%'}), '4|4', "$name: with one posting for each sum");
	is(value($node, q{SELECT code, balance FROM payments.trial_balance WHERE code ~ '^(psp_receivable|payout_clearing):tap|psp_fees$' AND currency = 'EUR' ORDER BY code}),
		'payout_clearing:tap|' . ($ALL * 993 + $ALL * ($ALL + 1) / 2 - 100) . "\npsp_fees|" . (7 * $ALL + 100) . "\npsp_receivable:tap|0", "$name: the ledger is what the files say");
	is(value($node, 'SELECT count(*), count(*) FILTER (WHERE posted_at IS NOT NULL AND compared_at IS NOT NULL) FROM payments.settlement_progress'), '2|2', "$name: both files are compared");
	is(value($node, q{SELECT kind, status, count(*), count(DISTINCT subject) FROM payments.discrepancy GROUP BY 1, 2 ORDER BY 1, 2}),
		"missing_here|open|$ORPHANS|$ORPHANS\nstatus|applied|" . join('|', ($DOUBT + $UNSENT) x 2), "$name: each discrepancy is there once");
	is(value($node, 'SELECT count(*), max(seq) FROM payments.discrepancy_resolution'), ($DOUBT + $UNSENT) . '|1', "$name: and resolved once");
	is(value($node, q{SELECT subject, count(*) FROM payments.job_finding WHERE resolved_at IS NULL GROUP BY 1}), 'open discrepancies of tap|1', "$name: the finding stands once");
	check_clean($node, "$name: check() is clean");
	return;
}
all_is_done_once('done');
# Seven steps: of each file two of lines and one of its postings, and the comparison.
is(value($node, q{SELECT sum(steps), sum(rows) FROM payments.job_run WHERE run_id <= (SELECT min(run_id) FROM payments.job_run WHERE result = 'done')}), '7|' . 2 * $LINES,
	'each step is in one run: every line was taken once, and compared once');
is(value($node, q{SELECT count(*) FROM payments.progress}), 0, 'nothing is under way');

# ---------- and once more
$node->safe_psql('postgres', q{CALL payments.run_job('reconcile')}, extra_params => [ '-U', 'jobs' ]);
all_is_done_once('again');
log_lacks_deadlocks($node);
$node->stop;
done_testing();
