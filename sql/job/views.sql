-- Is each job done when it should be?  security_invoker: pg_cron's tables show
-- their reader nobody else's jobs.

CREATE OR REPLACE VIEW payments.schedule_status WITH (security_invoker = true) AS
SELECT s.job, s.schedule, s.enabled, s.scheduled, s.result AS last_result, s.started_at AS last_started_at,
	coalesce(s.ended_at, now()) - s.started_at AS last_duration, s.steps AS last_steps, s.rows AS last_rows,
	s.due_at, CASE WHEN s.late THEN now() - s.due_at END AS lag, s.watermark, s.open_findings,
	CASE
		WHEN s.result = 'running' AND NOT payments._job_lock_held(s.job, s.pid) THEN
			format('killed after %s steps; the next run goes on from there', s.steps)
		WHEN s.result = 'failed' THEN 'failed: ' || s.error
		WHEN s.open_findings > 0 THEN format('%s open findings: see payments.job_finding', s.open_findings)
		WHEN NOT s.enabled THEN NULL
		WHEN s.preloaded AND s.launcher_pid IS NULL AND NOT pg_is_in_recovery() THEN 'pg_cron is silent: its launcher does not run, or ends again and again, as it does over a job whose role is gone: see the server log, and take that job out of cron.job'
		WHEN s.late AND now() - s.due_at > interval '10 minutes' AND s.result IS DISTINCT FROM 'running' THEN CASE
			WHEN NOT s.preloaded THEN format('not run when it was due, and there is no pg_cron: CALL payments.run_job(%L)', s.job)
			WHEN s.scheduled IS FALSE THEN 'pg_cron does not know of it: SELECT payments.schedule_jobs()'
			WHEN NOT s.active THEN 'somebody has paused it: see cron.job.active'
			ELSE 'pg_cron is silent: not run when it was due' || coalesce('; its last word was ' || s.last_message, '') END
		WHEN s.scheduled IS FALSE THEN 'pg_cron does not know of it: SELECT payments.schedule_jobs()'
		WHEN s.result = 'partial' THEN 'stopped after max_steps; the next run goes on from there'
	END AS problem
FROM (
	SELECT j.job, j.schedule, j.enabled, p.due_at, r.result, r.started_at, r.ended_at, r.steps, r.rows, r.error, r.pid, w.watermark,
		c.preloaded, c.launcher_pid, k.active, k.last_message,
		CASE WHEN c.database = current_database() AND (k.jobid IS NOT NULL OR pg_has_role(u.oid, 'MEMBER') AND u.rolsuper) THEN k.jobid IS NOT NULL END AS scheduled,
		j.enabled AND p.due_at <= now()
		-- Of another database's jobs, pg_cron's own purges its log.
		AND (j.job <> 'purge_job_run_details' OR c.database = current_database()) IS TRUE AS late,
		(SELECT count(*) FROM payments.job_finding f WHERE f.job = j.job AND f.resolved_at IS NULL) AS open_findings
	FROM payments._jobs() j
	CROSS JOIN payments.installation i
	CROSS JOIN payments._cron_state() c
	JOIN pg_roles u ON u.rolname = current_user
	LEFT JOIN payments.job_state w ON w.job = j.job
	LEFT JOIN LATERAL (SELECT x.* FROM payments.job_run x WHERE x.job = j.job ORDER BY x.run_id DESC LIMIT 1) r ON true
	CROSS JOIN LATERAL (SELECT payments._cron_next(j.schedule, greatest(r.started_at, j.added_at, i.set_up_at)) AS due_at) p
	LEFT JOIN LATERAL (SELECT x.* FROM payments._cron_jobs(current_database()) x WHERE x.job = j.job ORDER BY x.active DESC LIMIT 1) k ON true) s;
COMMENT ON VIEW payments.schedule_status IS 'each job: when it ran last, how that ended, and whether it is late; problem is null when all is well';
COMMENT ON COLUMN payments.schedule_status.job IS 'job.job';
COMMENT ON COLUMN payments.schedule_status.schedule IS 'cron schedule, UTC';
COMMENT ON COLUMN payments.schedule_status.enabled IS 'false: it is not to be scheduled';
COMMENT ON COLUMN payments.schedule_status.scheduled IS 'pg_cron knows of it; null when that cannot be seen from here: pg_cron is in another database, or shows each reader only jobs of the same role';
COMMENT ON COLUMN payments.schedule_status.last_result IS 'job_run.result of its last run; running: under way, or killed (see problem)';
COMMENT ON COLUMN payments.schedule_status.last_started_at IS 'when its last run started';
COMMENT ON COLUMN payments.schedule_status.last_duration IS 'how long that took, or has taken so far';
COMMENT ON COLUMN payments.schedule_status.last_steps IS 'steps that it has committed';
COMMENT ON COLUMN payments.schedule_status.last_rows IS 'rows that it dealt with';
COMMENT ON COLUMN payments.schedule_status.due_at IS 'when it was or will be due after its last run; infinity: at the next start of the server';
COMMENT ON COLUMN payments.schedule_status.lag IS 'time since then, when it was not run; null: in time';
COMMENT ON COLUMN payments.schedule_status.watermark IS 'job_state.watermark: all before is done';
COMMENT ON COLUMN payments.schedule_status.open_findings IS 'rows of job_finding that no person has resolved';
COMMENT ON COLUMN payments.schedule_status.problem IS 'what is wrong; pg_cron silent, a failed or killed run, findings';

-- What runs now.
CREATE OR REPLACE VIEW payments.progress WITH (security_invoker = true) AS
SELECT r.job, r.run_id, r.pid, r.started_at, r.steps, r.rows, r.total,
	CASE WHEN r.total > 0 THEN round(100 * least(r.rows::numeric / r.total, 1), 1) END AS percent,
	round(x.rate, 1) AS rate,
	CASE WHEN x.rate > 0 AND r.total >= r.rows THEN r.stepped_at + make_interval(secs => least((r.total - r.rows) / x.rate, 3e9)::float8) END AS eta,
	payments._job_activity(r.job, r.steps, r.rows, r.total, x.rate) AS activity
FROM payments.job_run r
CROSS JOIN LATERAL (SELECT payments._job_rate(r.rows, r.started_at, r.stepped_at) AS rate) x
WHERE r.result = 'running' AND payments._job_lock_held(r.job, r.pid);
COMMENT ON VIEW payments.progress IS 'runs of jobs that are under way, as of their last step; those of killed sessions are not';
COMMENT ON COLUMN payments.progress.job IS 'job.job';
COMMENT ON COLUMN payments.progress.run_id IS 'job_run.run_id';
COMMENT ON COLUMN payments.progress.pid IS 'process id of its session, for pg_stat_activity';
COMMENT ON COLUMN payments.progress.started_at IS 'when it started';
COMMENT ON COLUMN payments.progress.steps IS 'steps that are committed';
COMMENT ON COLUMN payments.progress.rows IS 'rows that these dealt with, in the unit of the job: verify counts blocks';
COMMENT ON COLUMN payments.progress.total IS 'rows that there are to do in all; null: the job does not say';
COMMENT ON COLUMN payments.progress.percent IS 'of total; null without';
COMMENT ON COLUMN payments.progress.rate IS 'rows a second up to the last step; null before';
COMMENT ON COLUMN payments.progress.eta IS 'when it will be through at this rate; null without total or rate';
COMMENT ON COLUMN payments.progress.activity IS 'the same in one line, as in pg_stat_activity.application_name';
