-- Views named by the question they answer.  security_invoker: they show their
-- reader what that reader may see.

CREATE OR REPLACE VIEW payments.stuck WITH (security_invoker = true) AS
WITH u AS (SELECT payments._unarmed_reason() AS reason),
w AS (SELECT payments._worker_pid() AS pid, payments._worker_trouble() AS trouble)
SELECT o.payment_id, o.operation_id, p.status, o.kind || ' ' || o.status AS operation,
	CASE
		WHEN d.dead_letter_id IS NOT NULL THEN 'dead letter: ' || d.reason
		WHEN s.psp IS NULL THEN 'the PSP has no row any more'
		WHEN q.claimed_by IS NOT NULL AND o.status <> 'in_doubt' THEN 'in flight'
		ELSE coalesce(
			nullif(concat_ws('; ',
				CASE
					WHEN pg_is_in_recovery() THEN 'this is a standby'
					WHEN NOT i.worker_enabled THEN 'the worker is stopped'
					WHEN w.pid IS NULL THEN 'the worker does not run'
				END,
				CASE WHEN NOT pg_is_in_recovery() THEN w.trouble END,
				CASE WHEN s.adapter <> 'sandbox' THEN 'not armed: ' || u.reason END,
				CASE WHEN s.halted_at IS NOT NULL THEN 'PSP halted: ' || coalesce(s.halted_reason, 'see payments.psp') END,
				CASE WHEN s.paused_at IS NOT NULL AND coalesce(s.paused_until > now(), true) AND q.action = 'send'
					THEN format('PSP paused by %s: %s', s.paused_by, s.paused_reason) END,
				'the worker cannot call the PSP: ' || h.problem,
				CASE WHEN h.silent_until IS NOT NULL THEN 'the PSP does not answer, and gets one call at a time' END,
				'the PSP wants no call before ' || to_char(CASE WHEN h.paused_until > now() THEN h.paused_until END, 'YYYY-MM-DD HH24:MI:SS')), ''),
			CASE
				WHEN q.due_at < now() THEN 'due, not yet claimed'
				ELSE CASE o.status
					WHEN 'in_doubt' THEN 'outcome unknown, inquired again at '
					WHEN 'requires_action' THEN 'the payer must confirm at next_action_url, inquired again at '
					WHEN 'processing' THEN 'the PSP has accepted it and is not done, inquired again at '
					ELSE 'waits until '
				END || to_char(q.due_at, 'YYYY-MM-DD HH24:MI:SS')
			END)
	END AS why,
	now() - o.created_at AS age,
	o.amount, o.currency, p.merchant, o.psp, p.order_ref
FROM payments.operation o
JOIN payments.payment p ON p.payment_id = o.payment_id
LEFT JOIN payments.psp s ON s.psp = o.psp
CROSS JOIN payments.installation i
CROSS JOIN u
CROSS JOIN w
LEFT JOIN payments.psp_health h ON h.psp = o.psp
LEFT JOIN payments.queue q ON q.operation_id = o.operation_id
LEFT JOIN payments.dead_letter d ON d.operation_id = o.operation_id AND d.decision IS NULL
WHERE o.operation_id IN (
	SELECT x.operation_id
	FROM payments.queue x
	LEFT JOIN payments.psp y ON y.psp = x.psp
	LEFT JOIN payments.psp_health z ON z.psp = x.psp
	WHERE x.enqueued_at < now() - interval '1 minute' OR x.try > 0 OR x.attempt > 0 AND x.claimed_by IS NULL
		OR y.halted_at IS NOT NULL OR z.problem IS NOT NULL OR y.paused_at IS NOT NULL AND coalesce(y.paused_until > now(), true)
		OR y.adapter <> 'sandbox' AND EXISTS (SELECT FROM u WHERE u.reason IS NOT NULL)
	UNION
	SELECT x.operation_id FROM payments.dead_letter x WHERE x.decision IS NULL);
COMMENT ON VIEW payments.stuck IS 'operations that have not gone through at the first try, wait for more than a minute, or cannot be sent as things are, and why';
COMMENT ON COLUMN payments.stuck.payment_id IS 'the payment';
COMMENT ON COLUMN payments.stuck.operation_id IS 'the operation on it';
COMMENT ON COLUMN payments.stuck.status IS 'status of the payment';
COMMENT ON COLUMN payments.stuck.operation IS 'kind and status of the operation';
COMMENT ON COLUMN payments.stuck.why IS 'what it waits for: all that is in the way of its PSP, else what is next';
COMMENT ON COLUMN payments.stuck.age IS 'since the operation was asked for';
COMMENT ON COLUMN payments.stuck.amount IS 'minor units';
COMMENT ON COLUMN payments.stuck.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.stuck.merchant IS 'for whom the money is taken';
COMMENT ON COLUMN payments.stuck.psp IS 'the PSP that it waits for';
COMMENT ON COLUMN payments.stuck.order_ref IS 'the application''s own name of what is paid';

CREATE OR REPLACE VIEW payments.worker_status AS
SELECT payments._worker_pid() IS NOT NULL AND i.worker_enabled AS running,
	payments._worker_pid() AS pid,
	i.worker_enabled AS enabled,
	u.reason IS NULL AS armed,
	coalesce(nullif(concat_ws('; ',
		CASE
			WHEN pg_is_in_recovery() THEN 'this is a standby: promote it, and SELECT payments.arm() when the primary is off for good'
			WHEN NOT i.worker_enabled THEN 'stopped: SELECT payments.start_worker()'
			WHEN payments._worker_pid() IS NULL THEN
				'not running: ' || coalesce(payments._worker_trouble(), 'list this database in payments.databases, or SELECT payments.start_worker()')
			ELSE payments._worker_trouble()
		END,
		CASE WHEN u.reason IS NOT NULL AND EXISTS (SELECT FROM payments.psp r WHERE r.adapter <> 'sandbox')
			THEN 'nothing is sent to real PSPs: ' || u.reason || ': SELECT payments.arm(), once no other copy of this database sends' END,
		(SELECT string_agg(format('PSP "%s" is halted: %s: once that is put right, an administrator''s SELECT payments.resume_psp(%L)', h.psp, coalesce(h.halted_reason, 'see payments.psp'), h.psp), '; ' ORDER BY h.psp)
		 FROM payments.psp h WHERE h.halted_at IS NOT NULL),
		s.unfit,
		CASE WHEN payments._worker_pid() IS NOT NULL AND i.worker_enabled AND NOT pg_is_in_recovery()
			THEN payments._seal_overdue() || ': end what has been open for long in pg_stat_activity and pg_prepared_xacts, and see the server log' END,
		payments._sealing_off(),
		CASE WHEN s.slowed > 0 THEN 'a PSP does not answer, or wants fewer calls: see payments.psp_status' END,
		(SELECT string_agg(format('PSP "%s" is paused by %s: %s', h.psp, h.paused_by, h.paused_reason), '; ' ORDER BY h.psp)
		 FROM payments.psp h WHERE h.paused_at IS NOT NULL AND coalesce(h.paused_until > now(), true))), ''),
		-- Nothing is in the way, and yet no round is made.
		CASE WHEN q.oldest_due < now() - interval '1 minute'
			THEN format('the worker runs, but does not claim what is due since %s: see the server log, or terminate process %s', to_char(q.oldest_due, 'YYYY-MM-DD HH24:MI:SS'), payments._worker_pid()) END) AS hint,
	q.queued, q.due, q.in_flight,
	(SELECT count(*) FROM payments.dead_letter d WHERE d.decision IS NULL) AS dead_letters,
	q.oldest_due, s.slowed,
	payments._unguarded() AS unguarded
FROM payments.installation i,
	LATERAL (SELECT count(*) FILTER (WHERE h.problem IS NULL) AS slowed,
				string_agg(format('PSP "%s" is not called: %s', h.psp, h.problem), '; ' ORDER BY h.psp) FILTER (WHERE h.problem IS NOT NULL) AS unfit
			 FROM payments.psp_health h JOIN payments.psp p ON p.psp = h.psp) s,
	LATERAL (SELECT payments._unarmed_reason() AS reason) u,
	LATERAL (SELECT count(*) AS queued,
				count(*) FILTER (WHERE w.due_at <= now() AND w.claimed_by IS NULL) AS due,
				count(*) FILTER (WHERE w.claimed_by IS NOT NULL) AS in_flight,
				min(w.due_at) FILTER (WHERE w.claimed_by IS NULL) AS oldest_due
			 FROM payments.queue w) q;
COMMENT ON VIEW payments.worker_status IS 'is the worker running, may it send, what has it to do';
COMMENT ON COLUMN payments.worker_status.running IS 'a worker process serves this database, and was not stopped';
COMMENT ON COLUMN payments.worker_status.pid IS 'its process id, as in pg_stat_activity; a preloaded one sleeps after stop_worker()';
COMMENT ON COLUMN payments.worker_status.enabled IS 'false after stop_worker()';
COMMENT ON COLUMN payments.worker_status.armed IS 'true: may send to real PSPs from here, see arm()';
COMMENT ON COLUMN payments.worker_status.hint IS 'what is in the way and what to do, the worst first; null: all is well';
COMMENT ON COLUMN payments.worker_status.queued IS 'operations in the queue';
COMMENT ON COLUMN payments.worker_status.due IS 'of these, due and not yet claimed';
COMMENT ON COLUMN payments.worker_status.in_flight IS 'of these, at a PSP now';
COMMENT ON COLUMN payments.worker_status.dead_letters IS 'waiting for a person: redrive() or discard()';
COMMENT ON COLUMN payments.worker_status.oldest_due IS 'when the first unclaimed one is or was due';
COMMENT ON COLUMN payments.worker_status.unguarded IS 'why whoever owns the tables may take the guards away here, and what to do; null: where the library is preloaded and payments.guard_ddl is on';
COMMENT ON COLUMN payments.worker_status.slowed IS 'PSPs that do not answer, or want fewer calls: psp_status says how many each gets';

CREATE OR REPLACE VIEW payments.partition_status WITH (security_invoker = true) AS
SELECT s.table_name, s.partition, s.from_time, s.to_time, s.rows_estimate, s.bytes, s.hint FROM payments._partition_status() s;
COMMENT ON VIEW payments.partition_status IS 'which months have a partition, how large they are, and whether something is wrong with them';
COMMENT ON COLUMN payments.partition_status.table_name IS 'posting, payment_status or event';
COMMENT ON COLUMN payments.partition_status.partition IS 'name of the partition';
COMMENT ON COLUMN payments.partition_status.from_time IS 'its rows are of times from this on; null: the default partition';
COMMENT ON COLUMN payments.partition_status.to_time IS 'up to but not at this one';
COMMENT ON COLUMN payments.partition_status.rows_estimate IS 'number of rows as of the last ANALYZE; null: not known';
COMMENT ON COLUMN payments.partition_status.bytes IS 'size with indexes';
COMMENT ON COLUMN payments.partition_status.hint IS 'what to do; null: all is well';
