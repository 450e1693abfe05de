-- What stays of rows that were retired.  Run by setup() as payments_owner; may
-- be run any number of times.  The names sort before those of the tables whose
-- rows continue them, so that a data-only restore brings them first.

CREATE TABLE IF NOT EXISTS payments.partition_retired (
	table_name text NOT NULL,
	from_time timestamptz NOT NULL,
	to_time timestamptz NOT NULL,
	partition text NOT NULL,
	kept_as text,
	rows bigint NOT NULL,
	last_id bigint,
	refs bigint,
	amounts jsonb,
	retired_at timestamptz NOT NULL,
	retired_by text NOT NULL,
	PRIMARY KEY (table_name, from_time),
	CONSTRAINT partition_retired_range CHECK (from_time < to_time)
);

COMMENT ON TABLE payments.partition_retired IS 'partitions that payments.retire_partitions() has taken out, append-only';
COMMENT ON COLUMN payments.partition_retired.table_name IS 'posting, payment_status or event';
COMMENT ON COLUMN payments.partition_retired.from_time IS 'its rows were of times from this on';
COMMENT ON COLUMN payments.partition_retired.to_time IS 'up to but not at this one';
COMMENT ON COLUMN payments.partition_retired.partition IS 'its name then';
COMMENT ON COLUMN payments.partition_retired.kept_as IS 'the table that it became; null: it was dropped';
COMMENT ON COLUMN payments.partition_retired.rows IS 'how many rows it had';
COMMENT ON COLUMN payments.partition_retired.last_id IS 'largest posting_id in it; null: of another table, or empty';
COMMENT ON COLUMN payments.partition_retired.refs IS 'how many of its postings had a reference: those stay in posting_reference; null: of another table';
COMMENT ON COLUMN payments.partition_retired.amounts IS 'sum of its postings for each currency, minor units; null: of another table';
COMMENT ON COLUMN payments.partition_retired.retired_at IS 'when it was retired';
COMMENT ON COLUMN payments.partition_retired.retired_by IS 'database role that did it';

CREATE TABLE IF NOT EXISTS payments.payment_retired (
	payment_id uuid PRIMARY KEY,
	from_time timestamptz NOT NULL,
	seq int NOT NULL,
	status text NOT NULL,
	hash bytea NOT NULL
);

COMMENT ON TABLE payments.payment_retired IS 'payments whose history was retired, with the end of it, append-only: what comes later is chained to it.  Written by payments.retire_partitions()';
COMMENT ON COLUMN payments.payment_retired.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.payment_retired.from_time IS 'partition_retired.from_time';
COMMENT ON COLUMN payments.payment_retired.seq IS 'last seq of the retired history';
COMMENT ON COLUMN payments.payment_retired.status IS 'status then';
COMMENT ON COLUMN payments.payment_retired.hash IS 'hash of that row: the next row is chained to it';

CREATE TABLE IF NOT EXISTS payments.posting_retired (
	account_id bigint NOT NULL,
	from_time timestamptz NOT NULL,
	debits numeric NOT NULL,
	credits numeric NOT NULL,
	postings bigint NOT NULL CONSTRAINT posting_retired_not_empty CHECK (postings > 0),
	PRIMARY KEY (account_id, from_time),
	CONSTRAINT posting_retired_not_negative CHECK (least(debits, credits) >= 0 AND debits + credits > 0)
);

COMMENT ON TABLE payments.posting_retired IS 'what retired postings come to, a row for each account and partition, append-only: with the postings that are here they make up the sums of the accounts.  Written by payments.retire_partitions()';
COMMENT ON COLUMN payments.posting_retired.account_id IS 'account.account_id';
COMMENT ON COLUMN payments.posting_retired.from_time IS 'partition_retired.from_time';
COMMENT ON COLUMN payments.posting_retired.debits IS 'sum of the amounts debited, minor units';
COMMENT ON COLUMN payments.posting_retired.credits IS 'sum of the amounts credited, minor units';
COMMENT ON COLUMN payments.posting_retired.postings IS 'number of postings';

DO $guard$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['partition_retired', 'payment_retired', 'posting_retired'] LOOP
		EXECUTE format('CREATE OR REPLACE TRIGGER guard_retired BEFORE INSERT ON payments.%I
			FOR EACH ROW EXECUTE FUNCTION payments.guard_retired()', t);
		EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER guard_retired', t);
	END LOOP;
END
$guard$;
