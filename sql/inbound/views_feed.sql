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

CREATE OR REPLACE VIEW payments.psp_event_effect WITH (security_invoker = true) AS
SELECT e.psp, e.event_id, e.event_type, e.source, e.received_at, e.outcome,
	concat_ws('; ',
		CASE e.outcome
			WHEN 'applied' THEN CASE
				WHEN e.status_before <> e.status_after THEN e.status_before || ' to ' || e.status_after
				ELSE 'changed something'
			END
			WHEN 'asked' THEN 'made us ask the PSP'
			WHEN 'no_effect' THEN 'nothing: known already, or late'
			WHEN 'ignored' THEN 'nothing: of a type that moves nothing here'
			WHEN 'foreign' THEN 'nothing: not about a payment of this database'
			WHEN 'unreadable' THEN 'nothing yet: it cannot be read, see payments.exception'
			WHEN 'unmatched' THEN CASE
				WHEN e.effect IS NULL THEN 'nothing: no payment of ours'
				ELSE 'nothing yet: no payment of ours has that id'
			END
			ELSE e.outcome
		END,
		m.moved,
		CASE WHEN e.times > 1 THEN 'came ' || e.times || ' times, and counted once' END) AS did,
	e.payment_id, e.status_before, e.status_after, e.times - 1 AS duplicates, e.last_received_at
FROM payments.psp_event e
CROSS JOIN LATERAL (
	SELECT string_agg(v.kind || ' ' || payments.format_amount(v.amount, v.currency), ', ' ORDER BY v.kind, v.object_id) AS moved
	FROM payments.movement v
	WHERE v.payment_id = e.payment_id AND v.recorded_at = e.received_at AND e.outcome = 'applied') m;
COMMENT ON VIEW payments.psp_event_effect IS 'what each event of a PSP did: which payment, its status before and after, and what money moved';
COMMENT ON COLUMN payments.psp_event_effect.psp IS 'the PSP';
COMMENT ON COLUMN payments.psp_event_effect.event_id IS 'psp_event.event_id';
COMMENT ON COLUMN payments.psp_event_effect.event_type IS 'the PSP''s name of what happened';
COMMENT ON COLUMN payments.psp_event_effect.source IS 'webhook or feed: by which it came first';
COMMENT ON COLUMN payments.psp_event_effect.received_at IS 'when it came first';
COMMENT ON COLUMN payments.psp_event_effect.outcome IS 'psp_event.outcome';
COMMENT ON COLUMN payments.psp_event_effect.did IS 'in words: the change of status, what moved, and how often it came';
COMMENT ON COLUMN payments.psp_event_effect.payment_id IS 'payment it spoke of; null: none of ours';
COMMENT ON COLUMN payments.psp_event_effect.status_before IS 'of the payment, when the event was applied';
COMMENT ON COLUMN payments.psp_event_effect.status_after IS 'and behind it';
COMMENT ON COLUMN payments.psp_event_effect.duplicates IS 'how often it came again, and did nothing';
COMMENT ON COLUMN payments.psp_event_effect.last_received_at IS 'when it came again last; null: it came once';

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
