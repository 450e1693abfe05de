-- Feeds: lists that a PSP's API offers, read by the worker window by window.
-- Run by setup() as payments_owner; may be run any number of times.

CREATE TABLE IF NOT EXISTS payments.psp_feed (
	psp text NOT NULL,
	feed text NOT NULL CONSTRAINT psp_feed_is_a_name CHECK (feed ~ '^[a-z][a-z0-9_]{0,62}$'),
	enabled boolean NOT NULL DEFAULT true,
	watermark timestamptz NOT NULL,
	window_from timestamptz,
	window_to timestamptz,
	page_cursor text,
	page_size int NOT NULL DEFAULT 100 CONSTRAINT psp_feed_page_size_range CHECK (page_size BETWEEN 1 AND 100),
	due_at timestamptz NOT NULL,
	claimed_by text,
	attempt bigint NOT NULL DEFAULT 0,
	tries int NOT NULL DEFAULT 0,
	failing_since timestamptz,
	last_error text,
	last_error_at timestamptz,
	last_ok_at timestamptz,
	pages bigint NOT NULL DEFAULT 0,
	entries_read bigint NOT NULL DEFAULT 0,
	entries_new bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (psp, feed),
	CONSTRAINT psp_feed_window_has_both_ends CHECK ((window_from IS NULL) = (window_to IS NULL)),
	CONSTRAINT psp_feed_window_goes_on CHECK (window_from < window_to AND watermark < window_to),
	CONSTRAINT psp_feed_cursor_in_window CHECK (page_cursor IS NULL OR window_to IS NOT NULL)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE payments.psp_feed IS 'how far the worker has read each list that a PSP offers: docs/feeds.md';
COMMENT ON COLUMN payments.psp_feed.psp IS 'psp.psp; no foreign key, but goes with the PSP unless entries of it wait: see check()';
COMMENT ON COLUMN payments.psp_feed.feed IS 'settlement: movements of the balance at the PSP, for import_settlement(); all others hold what webhooks tell, or would: events, or objects as they are now';
COMMENT ON COLUMN payments.psp_feed.enabled IS 'see enable_feed()';
COMMENT ON COLUMN payments.psp_feed.watermark IS 'everything that the PSP created before this moment was read; whole seconds';
COMMENT ON COLUMN payments.psp_feed.window_from IS 'window in progress: from here, before the watermark by the overlap; null: none';
COMMENT ON COLUMN payments.psp_feed.window_to IS 'to below here; the watermark when its last page is in';
COMMENT ON COLUMN payments.psp_feed.page_cursor IS 'the PSP''s id of the last entry read in this window, newest first; null: the first page is next';
COMMENT ON COLUMN payments.psp_feed.page_size IS 'entries to ask for; halved when an answer is too large, doubled when a window is done';
COMMENT ON COLUMN payments.psp_feed.due_at IS 'when the next page is asked for; while claimed: when the lease runs out';
COMMENT ON COLUMN payments.psp_feed.claimed_by IS 'worker that is asking now; null: none';
COMMENT ON COLUMN payments.psp_feed.attempt IS 'counts the claims, from the microsecond on in which the row was made: an answer to an older one is dropped';
COMMENT ON COLUMN payments.psp_feed.tries IS 'failures in a row';
COMMENT ON COLUMN payments.psp_feed.failing_since IS 'first of these; null: the last try went well';
COMMENT ON COLUMN payments.psp_feed.last_error IS 'what went wrong last, also when it goes well since';
COMMENT ON COLUMN payments.psp_feed.last_error_at IS 'when that was';
COMMENT ON COLUMN payments.psp_feed.last_ok_at IS 'when the last page came in';
COMMENT ON COLUMN payments.psp_feed.pages IS 'pages read since the row was made';
COMMENT ON COLUMN payments.psp_feed.entries_read IS 'entries on these pages; those in the overlap come several times';
COMMENT ON COLUMN payments.psp_feed.entries_new IS 'entries that were not here before';

-- No index on due_at: there are two rows for a PSP.

CREATE TABLE IF NOT EXISTS payments.feed_entry (
	psp text NOT NULL,
	feed text NOT NULL,
	entry_id text NOT NULL,
	body text NOT NULL,
	reason text NOT NULL,
	tries int NOT NULL DEFAULT 1,
	seen_at timestamptz NOT NULL,
	due_at timestamptz NOT NULL,
	discarded_at timestamptz,
	discarded_by text,
	discard_reason text,
	PRIMARY KEY (psp, feed, entry_id),
	CONSTRAINT feed_entry_discarded_by_somebody CHECK ((discarded_at IS NULL) = (discarded_by IS NULL) AND (discarded_at IS NULL) = (discard_reason IS NULL))
);

CREATE INDEX IF NOT EXISTS feed_entry_due ON payments.feed_entry (due_at) WHERE discarded_at IS NULL;

COMMENT ON TABLE payments.feed_entry IS 'entries of feeds that could not be applied and are tried again, so that one does not hold up the others; a row goes away when it has been applied';
COMMENT ON COLUMN payments.feed_entry.psp IS 'psp_feed.psp; no foreign key, see check()';
COMMENT ON COLUMN payments.feed_entry.feed IS 'psp_feed.feed';
COMMENT ON COLUMN payments.feed_entry.entry_id IS 'the PSP''s id';
COMMENT ON COLUMN payments.feed_entry.body IS 'as the PSP sent it, JSON, with what looks like a card number masked';
COMMENT ON COLUMN payments.feed_entry.reason IS 'why it could not be applied last; locked: somebody held the payment; no payment of ours yet: a refund or dispute of a payment that is not known, or not yet';
COMMENT ON COLUMN payments.feed_entry.tries IS 'how often it was tried';
COMMENT ON COLUMN payments.feed_entry.seen_at IS 'when it was read first';
COMMENT ON COLUMN payments.feed_entry.due_at IS 'when it is tried again';
COMMENT ON COLUMN payments.feed_entry.discarded_at IS 'when a person gave it up, see discard_feed_entry(); null: it is tried again';
COMMENT ON COLUMN payments.feed_entry.discarded_by IS 'database role that gave it up';
COMMENT ON COLUMN payments.feed_entry.discard_reason IS 'why';
