-- Sealing: which transaction wrote a row, and the blocks over those rows.
-- src/seal/seal.c says how they are cut, docs/sealing.md what they prove.  Run by
-- setup() as payments_owner; may be run any number of times.

CREATE TABLE IF NOT EXISTS payments.seal_epoch (
	epoch int NOT NULL CONSTRAINT seal_epoch_not_negative CHECK (epoch >= 0),
	system text NOT NULL,
	timeline int NOT NULL,
	database oid NOT NULL,
	since xid8 NOT NULL,
	recorded_at timestamptz NOT NULL,
	PRIMARY KEY (epoch, since)
);

COMMENT ON TABLE payments.seal_epoch IS 'places (cluster, timeline, database) where these tables have been, append-only; each gives the numbers in the columns xid another range.  The first transactions that write somewhere else add a row each: see src/seal/xid.c';
COMMENT ON COLUMN payments.seal_epoch.epoch IS 'counts the places from 0; xid is epoch * 2^48 + the transaction id of that cluster';
COMMENT ON COLUMN payments.seal_epoch.system IS 'system identifier of the cluster';
COMMENT ON COLUMN payments.seal_epoch.timeline IS 'its timeline';
COMMENT ON COLUMN payments.seal_epoch.database IS 'oid of the database';
COMMENT ON COLUMN payments.seal_epoch.since IS 'id of the transaction that wrote this row, without the epoch';
COMMENT ON COLUMN payments.seal_epoch.recorded_at IS 'when it did';

CREATE TABLE IF NOT EXISTS payments.seal (
	block bigint PRIMARY KEY CONSTRAINT seal_block_positive CHECK (block > 0),
	from_xid xid8 NOT NULL,
	to_xid xid8 NOT NULL,
	previous bytea NOT NULL CONSTRAINT seal_previous_length CHECK (octet_length(previous) = 32),
	hash bytea NOT NULL CONSTRAINT seal_hash_length CHECK (octet_length(hash) = 32),
	sealed_at timestamptz NOT NULL,
	CONSTRAINT seal_range_not_empty CHECK (from_xid < to_xid)
);

CREATE UNIQUE INDEX IF NOT EXISTS seal_to_xid ON payments.seal (to_xid);

COMMENT ON TABLE payments.seal IS 'blocks over the facts of the tables, each chained to the one before, append-only.  Written by seal_blocks(), checked by verify()';
COMMENT ON COLUMN payments.seal.block IS 'counts from 1';
COMMENT ON COLUMN payments.seal.from_xid IS 'it seals rows from this value of their column xid on: the previous block''s to_xid';
COMMENT ON COLUMN payments.seal.to_xid IS 'to below this one';
COMMENT ON COLUMN payments.seal.previous IS 'hash of the block before; of block 1 32 zeros';
COMMENT ON COLUMN payments.seal.hash IS 'SHA-256 over all of the above, sealed_at, and name, rows and root of its tables';
COMMENT ON COLUMN payments.seal.sealed_at IS 'when; microseconds of it are part of the hash';

CREATE TABLE IF NOT EXISTS payments.seal_table (
	block bigint NOT NULL,
	name text NOT NULL,
	rows bigint NOT NULL CONSTRAINT seal_table_rows_positive CHECK (rows > 0),
	root bytea NOT NULL CONSTRAINT seal_table_root_length CHECK (octet_length(root) = 32),
	PRIMARY KEY (block, name)
);

COMMENT ON TABLE payments.seal_table IS 'what a block holds of each table, and of each month of a partitioned one, that has rows in it, append-only';
COMMENT ON COLUMN payments.seal_table.block IS 'seal.block';
COMMENT ON COLUMN payments.seal_table.name IS 'the table, without its schema; of a partitioned one with the month of the rows in UTC behind it, as posting/2026-11';
COMMENT ON COLUMN payments.seal_table.rows IS 'number of rows sealed';
COMMENT ON COLUMN payments.seal_table.root IS 'root of the Merkle tree over them';

CREATE TABLE IF NOT EXISTS payments.seal_leaf (
	block bigint NOT NULL,
	name text NOT NULL,
	chunk int NOT NULL,
	leaves bytea NOT NULL,
	PRIMARY KEY (block, name, chunk)
);
-- Hashes do not compress.
ALTER TABLE payments.seal_leaf ALTER COLUMN leaves SET STORAGE EXTERNAL;

COMMENT ON TABLE payments.seal_leaf IS 'the leaves of those trees, append-only: by them verify() names the row that was changed';
COMMENT ON COLUMN payments.seal_leaf.block IS 'seal_table.block';
COMMENT ON COLUMN payments.seal_leaf.name IS 'seal_table.name';
COMMENT ON COLUMN payments.seal_leaf.chunk IS 'counts from 0; each but the last of a table holds 4096 leaves';
COMMENT ON COLUMN payments.seal_leaf.leaves IS 'SHA-256 of each row, 32 bytes, in the order of the rows'' keys';

-- The tables that are sealed, as core/table.c has them.  No btree index: it would have to be kept by
-- every posting.  New rows lie at the end, which is what BRIN is made for.
DO $sealed$
DECLARE
	t text;
	x pg_attribute;
BEGIN
	FOR t IN SELECT r.name FROM payments._tables() r WHERE r.seal_key IS NOT NULL LOOP
		SELECT a.* INTO x
		FROM pg_attribute a
		WHERE a.attrelid = to_regclass('payments.' || t) AND a.attname = 'xid' AND NOT a.attisdropped;
		-- What is there already gets this transaction's id.  The default itself is
		-- not called here: setup() must leave seal_epoch empty, for what a restore brings.
		IF x.attrelid IS NULL THEN
			EXECUTE format(
				'ALTER TABLE payments.%I ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()', t);
			EXECUTE format('ALTER TABLE payments.%I ALTER COLUMN xid SET DEFAULT payments._seal_xid()', t);
		ELSIF NOT EXISTS (
			SELECT FROM pg_attrdef d
			WHERE d.adrelid = x.attrelid
			AND d.adnum = x.attnum
			AND pg_get_expr(d.adbin, d.adrelid) = 'payments._seal_xid()'
		) THEN
			EXECUTE format('ALTER TABLE payments.%I ALTER COLUMN xid SET DEFAULT payments._seal_xid()', t);
		END IF;
		EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON payments.%I USING brin (xid payments.xid8_minmax_ops)
			WITH (pages_per_range = 16, autosummarize = on)', t || '_xid', t);
		EXECUTE format('COMMENT ON COLUMN payments.%I.xid IS %L', t,
			'transaction that wrote the row, as seal_epoch says; a block seals all rows from one of these '
				'numbers to another, and a reader that stays below payments.seal_horizon() misses none');
	END LOOP;
END
$sealed$;

CREATE OR REPLACE TRIGGER forget_epoch AFTER INSERT ON payments.seal_epoch
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_epoch();
ALTER TABLE payments.seal_epoch ENABLE ALWAYS TRIGGER forget_epoch;

CREATE OR REPLACE VIEW payments.seal_head WITH (security_invoker = true) AS
SELECT s.block, s.hash, s.sealed_at, payments._seal_head_line(s.block, s.hash, s.sealed_at) AS head
FROM payments.seal s ORDER BY s.block DESC LIMIT 1;
COMMENT ON VIEW payments.seal_head IS 'the newest block: whoever keeps its hash elsewhere is a witness of all rows sealed so far';
COMMENT ON COLUMN payments.seal_head.block IS 'seal.block';
COMMENT ON COLUMN payments.seal_head.hash IS 'seal.hash';
COMMENT ON COLUMN payments.seal_head.sealed_at IS 'seal.sealed_at';
COMMENT ON COLUMN payments.seal_head.head IS 'as a line of payments.seal_file: block, hash in hex, time in UTC, database, system identifier, check; verify() takes such lines';
