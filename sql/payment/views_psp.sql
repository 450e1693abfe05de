-- How PSPs are, each in a row: what persons have said, what the worker has found
-- out, what waits.  Figures of the last calls are the worker's where the library
-- is preloaded and it has called since; else of the last thousand answers of all
-- PSPs.

CREATE OR REPLACE VIEW payments.psp_status WITH (security_invoker = true) AS
WITH told AS (
	SELECT o.psp, r.answered_at, r.elapsed_ms, r.error IS NULL AS answered,
		CASE
			WHEN r.error IS NOT NULL THEN r.error
			WHEN r.http_status >= 500 OR r.http_status = 429 OR r.class = 'misconfigured' THEN 'HTTP status ' || r.http_status
		END AS failure
	FROM (
		SELECT a.operation_id, a.answered_at, a.elapsed_ms, a.error, a.http_status, a.class
		FROM payments.attempt_answer a
		ORDER BY a.operation_id DESC
		LIMIT 1000
	) r
	JOIN payments.operation o ON o.operation_id = r.operation_id
),
recent AS (
	SELECT t.psp,
		count(*)::int AS calls,
		count(t.failure)::int AS failures,
		(percentile_disc(0.5) WITHIN GROUP (ORDER BY t.elapsed_ms) FILTER (WHERE t.answered))::int AS p50_ms,
		(percentile_disc(0.99) WITHIN GROUP (ORDER BY t.elapsed_ms) FILTER (WHERE t.answered))::int AS p99_ms,
		max(t.answered_at) FILTER (WHERE t.failure IS NOT NULL) AS failed_at,
		(array_agg(t.failure ORDER BY t.answered_at DESC) FILTER (WHERE t.failure IS NOT NULL))[1] AS failure
	FROM told t
	GROUP BY t.psp
),
work AS (
	SELECT q.psp,
		count(*) AS queued,
		count(*) FILTER (WHERE q.claimed_by IS NOT NULL) AS in_flight,
		count(*) FILTER (WHERE q.due_at <= now() AND q.claimed_by IS NULL) AS due,
		min(q.due_at) FILTER (WHERE q.claimed_by IS NULL) AS oldest_due
	FROM payments.queue q
	GROUP BY q.psp
),
dead AS (
	SELECT d.psp,
		count(*) AS dead_letters
	FROM payments.dead_letter d
	WHERE d.decision IS NULL
	GROUP BY d.psp
)
SELECT s.psp, h.state, h.until,
	coalesce(w.in_flight, 0) AS in_flight,
	coalesce(h.in_flight_max, n.in_flight_max) AS in_flight_max,
	s.calls_per_second AS calls_per_second_agreed,
	n.calls_per_second AS calls_per_second_found,
	coalesce(h.p50_ms, r.p50_ms) AS p50_ms,
	coalesce(h.p99_ms, r.p99_ms) AS p99_ms,
	coalesce(h.calls, r.calls) AS calls,
	round(1 - coalesce(h.failures, r.failures)::numeric / coalesce(h.calls, r.calls), 3) AS success_share,
	coalesce(h.failure, r.failure) AS last_error,
	coalesce(h.failed_at, r.failed_at) AS last_error_at,
	coalesce(w.queued, 0) AS queued,
	coalesce(w.due, 0) AS due,
	w.oldest_due,
	coalesce(d.dead_letters, 0) AS dead_letters,
	CASE h.state
		WHEN 'halted' THEN coalesce(s.halted_reason, 'see payments.psp')
		WHEN 'paused' THEN s.paused_reason
		WHEN 'unfit' THEN n.problem
	END AS reason,
	CASE WHEN h.state = 'paused' THEN s.paused_by END AS paused_by
FROM payments.psp s
CROSS JOIN LATERAL payments._health_of(s.psp) h
LEFT JOIN payments.psp_health n ON n.psp = s.psp
LEFT JOIN recent r ON r.psp = s.psp
LEFT JOIN work w ON w.psp = s.psp
LEFT JOIN dead d ON d.psp = s.psp;
COMMENT ON VIEW payments.psp_status IS 'how each PSP is: may it be called, how fast is it, what waits for it';
COMMENT ON COLUMN payments.psp_status.psp IS 'psp.psp';
COMMENT ON COLUMN payments.psp_status.state IS 'good; slowed: it wants fewer calls than it might get; half_open: it did not answer, and the next call shows whether it does; silent: it does not answer, or wants no call, until then; unfit: the worker cannot call it; paused by a person; halted: it refuses our credentials';
COMMENT ON COLUMN payments.psp_status.until IS 'when the pause ends, or the next call is tried; null: not known';
COMMENT ON COLUMN payments.psp_status.in_flight IS 'calls that are at the PSP now, or whose answers are not stored yet';
COMMENT ON COLUMN payments.psp_status.in_flight_max IS 'so many may be, as it takes them; null: not known, as before the first call and without preloading';
COMMENT ON COLUMN payments.psp_status.calls_per_second_agreed IS 'psp.calls_per_second';
COMMENT ON COLUMN payments.psp_status.calls_per_second_found IS 'so many begin in a second, since the PSP said that there were too many; null: it has not for minutes';
COMMENT ON COLUMN payments.psp_status.p50_ms IS 'half of the answers came within so many milliseconds; null: none is known';
COMMENT ON COLUMN payments.psp_status.p99_ms IS 'likewise 99 of a hundred';
COMMENT ON COLUMN payments.psp_status.calls IS 'so many calls success_share is of: at most the last 64, as the worker counted them, or else those of the last thousand answers that are this PSP''s';
COMMENT ON COLUMN payments.psp_status.success_share IS 'of these, answered in time and with no error of the PSP''s; a decline is an answer';
COMMENT ON COLUMN payments.psp_status.last_error IS 'of the last call that was not; null: none is known';
COMMENT ON COLUMN payments.psp_status.last_error_at IS 'when that was';
COMMENT ON COLUMN payments.psp_status.queued IS 'operations that wait for it or are there';
COMMENT ON COLUMN payments.psp_status.due IS 'of these, due and not yet claimed';
COMMENT ON COLUMN payments.psp_status.oldest_due IS 'when the first unclaimed one is or was due';
COMMENT ON COLUMN payments.psp_status.dead_letters IS 'that a person must decide';
COMMENT ON COLUMN payments.psp_status.reason IS 'why it is halted, paused or unfit';
COMMENT ON COLUMN payments.psp_status.paused_by IS 'database role that paused it';
