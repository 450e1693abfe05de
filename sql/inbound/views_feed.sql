-- Of the feeds: after core/tables_installation.sql, which the view reads.

CREATE OR REPLACE VIEW payments.psp_event_count WITH (security_invoker = true) AS
SELECT e.psp, e.outcome, e.source, count(*) AS events, max(e.received_at) AS last_received_at
FROM payments.psp_event e
GROUP BY e.psp, e.outcome, e.source;
COMMENT ON VIEW payments.psp_event_count IS 'what came of the events of each PSP; foreign ones are those of other databases that use the same account';
COMMENT ON COLUMN payments.psp_event_count.psp IS 'the PSP';
COMMENT ON COLUMN payments.psp_event_count.outcome IS 'psp_event.outcome';
COMMENT ON COLUMN payments.psp_event_count.source IS 'webhook or feed';
COMMENT ON COLUMN payments.psp_event_count.events IS 'how many';
COMMENT ON COLUMN payments.psp_event_count.last_received_at IS 'when the last of them came';

CREATE OR REPLACE VIEW payments.feed_status WITH (security_invoker = true) AS
SELECT f.psp, f.feed, f.enabled, f.watermark, now() - f.watermark AS lag, f.last_ok_at, f.last_error, e.waiting AS entries_waiting,
	CASE
		WHEN NOT f.enabled THEN 'not enabled'
		WHEN NOT i.worker_enabled OR u.reason IS NOT NULL OR s.halted_at IS NOT NULL OR h.problem IS NOT NULL THEN concat_ws('; ',
			CASE WHEN NOT i.worker_enabled THEN 'the worker is stopped' END,
			'not armed: ' || u.reason,
			CASE WHEN s.halted_at IS NOT NULL THEN 'halted: ' || coalesce(s.halted_reason, 'see payments.psp') END,
			'the worker cannot call the PSP: ' || h.problem)
		WHEN f.failing_since IS NOT NULL THEN 'errors since ' || to_char(f.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC: ' || f.last_error
		WHEN now() - f.watermark > make_interval(secs => c.lag_s + 5 * c.interval_s + 60) THEN 'behind by ' || date_trunc('second', now() - f.watermark)
		WHEN e.refused > 0 THEN e.refused || CASE e.refused WHEN 1 THEN ' entry' ELSE ' entries' END || ' could not be applied: see payments.feed_entry'
	END AS problem
FROM payments.psp_feed f
JOIN payments.psp s ON s.psp = f.psp
LEFT JOIN payments.psp_health h ON h.psp = f.psp
CROSS JOIN payments.installation i
CROSS JOIN LATERAL (SELECT payments._unarmed_reason() AS reason) u
CROSS JOIN LATERAL payments._feed_settings(s.config) c
CROSS JOIN LATERAL (
	SELECT count(*) AS waiting, count(*) FILTER (WHERE r.reason NOT IN ('locked', 'no payment of ours yet') OR r.reason = 'locked' AND r.seen_at < now() - interval '5 min') AS refused
	FROM payments.feed_entry r WHERE r.psp = f.psp AND r.feed = f.feed AND r.discarded_at IS NULL) e;
COMMENT ON VIEW payments.feed_status IS 'is everything read that the PSPs'' lists hold, and what is in the way';
COMMENT ON COLUMN payments.feed_status.psp IS 'the PSP';
COMMENT ON COLUMN payments.feed_status.feed IS 'psp_feed.feed';
COMMENT ON COLUMN payments.feed_status.enabled IS 'see enable_feed()';
COMMENT ON COLUMN payments.feed_status.watermark IS 'everything that the PSP created before this moment was read';
COMMENT ON COLUMN payments.feed_status.lag IS 'since then; some interval more than a minute is normal';
COMMENT ON COLUMN payments.feed_status.last_ok_at IS 'when the last page came in';
COMMENT ON COLUMN payments.feed_status.last_error IS 'what went wrong last, also when it goes well since';
COMMENT ON COLUMN payments.feed_status.entries_waiting IS 'entries that could not be applied yet and are tried again';
COMMENT ON COLUMN payments.feed_status.problem IS 'what is in the way; null: nothing';
