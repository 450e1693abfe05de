-- Partitions by month, and their end.  src/core/partition.c says how it is done.

CREATE FUNCTION payments._uuid_of(_at timestamptz) RETURNS uuid
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT (lpad(to_hex(floor(extract(epoch FROM _at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
COMMENT ON FUNCTION payments._uuid_of(timestamptz) IS 'Internal: the lowest UUIDv7 of that millisecond.';

CREATE FUNCTION payments._bound_time(_bound text) RETURNS timestamptz
	LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN _bound ~ '^[0-9a-f]{8}-'
			THEN to_timestamp(('x' || left(translate(_bound, '-', ''), 12))::bit(48)::bigint / 1000.0)
		ELSE _bound::timestamptz
	END
$$;
COMMENT ON FUNCTION payments._bound_time(text) IS 'Internal: the time that a bound of a partition stands for, be it a time or a UUIDv7.';

CREATE FUNCTION payments._partitions()
	RETURNS TABLE (
		table_name text, partition text, from_time timestamptz, to_time timestamptz, is_default boolean
	)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
	SELECT p.relname, c.relname, payments._bound_time(b.part[1]), payments._bound_time(b.part[2]),
		e.expression = 'DEFAULT'
	FROM payments._tables() t
	JOIN pg_class p ON p.relnamespace = 'payments'::regnamespace AND p.relname = t.name
	JOIN pg_inherits i ON i.inhparent = p.oid
	JOIN pg_class c ON c.oid = i.inhrelid
	CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid)) e (expression)
	LEFT JOIN LATERAL regexp_match(
		e.expression, '^FOR VALUES FROM [(]''([^'']*)''[)] TO [(]''([^'']*)''[)]$') b (part) ON true
	WHERE t.partition_key IS NOT NULL
$$;
COMMENT ON FUNCTION payments._partitions() IS 'Internal: the partitions there are, and the times that they are for.';

CREATE FUNCTION payments._retired_until(table_name text) RETURNS timestamptz
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_retired_until';
COMMENT ON FUNCTION payments._retired_until(text) IS
'Internal: from when on the rows of a partitioned table are here; null when none were retired. It waits for a retirement that is about to commit, and keeps others out until the end of the transaction. Unlike a query it sees what was committed after the transaction''s snapshot.';

-- A note that retention cannot have written yet exempts nothing.
CREATE FUNCTION payments._retired_to(_table_name text) RETURNS timestamptz
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT max(r.to_time)
	FROM payments.partition_retired r
	WHERE r.table_name = _table_name AND r.to_time <= now() - interval '27 days'
$$;
COMMENT ON FUNCTION payments._retired_to(text) IS
'Internal: from when on check() wants the rows of a partitioned table to be here; null when none were retired. Notes of months that cannot have been retired are left out.';

CREATE FUNCTION payments._lock_partitioning(_table_name text, _writers boolean DEFAULT false) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
	EXECUTE format('LOCK TABLE ONLY payments.%I IN %s MODE', _table_name,
		CASE
			WHEN _writers THEN 'SHARE'
			WHEN _table_name = 'partition_retired' THEN 'SHARE ROW EXCLUSIVE'
			ELSE 'SHARE UPDATE EXCLUSIVE'
		END);
	RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
	RETURN false;
END
$$;
COMMENT ON FUNCTION payments._lock_partitioning(text, boolean) IS
'Internal: keeps others who make or retire partitions out, and with writers those who write into it, too; false when it had to wait for more than two seconds. partition_retired stands for all tables.';

CREATE FUNCTION payments._guard_partition(_name text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE TRIGGER guard_truncate BEFORE TRUNCATE ON payments.%I
		FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_append_only()', _name);
	EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER guard_truncate', _name);
END
$$;
COMMENT ON FUNCTION payments._guard_partition(text) IS 'Internal: the guard that does not come with the table that a partition is attached to, as those of rows do.';

CREATE FUNCTION payments._lock_tables(_tables oid[]) RETURNS boolean
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_lock_tables_sql';
COMMENT ON FUNCTION payments._lock_tables(oid[]) IS
'Internal: takes these tables for itself, all or none, without ever waiting in a queue; false when one was not free within 100 ms.';

CREATE FUNCTION payments._lock_default_partitions(_table_names text[]) RETURNS boolean
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT payments._lock_tables(
		ARRAY(
			SELECT to_regclass(format('payments.%I', p.partition))::oid
			FROM payments._partitions() p
			WHERE p.is_default AND p.table_name = ANY (_table_names)
			ORDER BY 1
		))
$$;
COMMENT ON FUNCTION payments._lock_default_partitions(text[]) IS
'Internal: takes the default partitions of these tables, which attaching a partition needs, all or none; false when one was not free within 100 ms. All at once: whoever waits for one while holding another waits for somebody who reads both.';

-- Attached, not made as a partition at once: that would take the table from those who post.
CREATE FUNCTION payments._make_partition(_table_name text, _from_time timestamptz, _to_time timestamptz)
	RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'
	SET lock_timeout = '200ms' SET client_min_messages = warning AS $$
DECLARE
	name text := _table_name || coalesce('_' || to_char(_from_time, 'YYYY_MM'), '_default');
	part_bound text := 'DEFAULT';
BEGIN
	IF _from_time IS NOT NULL THEN
		SELECT CASE t.partition_type
			WHEN 'uuid' THEN format(
				'FOR VALUES FROM (%L) TO (%L)', payments._uuid_of(_from_time), payments._uuid_of(_to_time))
			ELSE format('FOR VALUES FROM (%L) TO (%L)', _from_time, _to_time)
		END
		INTO STRICT part_bound
		FROM payments._tables() t
		WHERE t.name = _table_name;
	END IF;
	EXECUTE format(
		'CREATE TABLE payments.%I (LIKE payments.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE
		INCLUDING COMPRESSION INCLUDING COMMENTS)', name, _table_name);
	PERFORM payments._revoke_all(to_regclass(format('payments.%I', name)));
	EXECUTE format('COMMENT ON TABLE payments.%I IS %L', name,
		CASE
			WHEN _from_time IS NULL
				THEN format('rows of payments.%s for whose time there is no partition', _table_name)
			ELSE format('rows of payments.%s from %s up to but not at %s, UTC', _table_name,
				to_char(_from_time, 'YYYY-MM-DD'), to_char(_to_time, 'YYYY-MM-DD'))
		END);
	PERFORM payments._guard_partition(name);
	EXECUTE format('ALTER TABLE payments.%I ATTACH PARTITION payments.%I %s', _table_name, name, part_bound);
	RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected OR check_violation THEN
	RAISE WARNING USING
		MESSAGE = format('could not make partition "payments.%s": %s', name, sqlerrm),
		HINT = CASE sqlstate
			WHEN '23514'
				THEN 'Rows of these times are in the default partition already, and stay there. Look at the '
					'clock of the server.'
			ELSE 'The worker tries again; or call payments.make_partitions().'
		END;
	RETURN false;
END
$$;
COMMENT ON FUNCTION payments._make_partition(text, timestamptz, timestamptz) IS
'Internal: makes one partition, the default one without times; false, with a warning, when it cannot be made now.';

CREATE FUNCTION payments._missing_partitions(_table_name text, _since timestamptz, _until timestamptz)
	RETURNS SETOF timestamptz
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
	WITH there AS MATERIALIZED (
		SELECT p.from_time, p.to_time, p.is_default
		FROM payments._partitions() p
		WHERE p.table_name = _table_name
	)
	SELECT NULL::timestamptz
	WHERE NOT EXISTS (SELECT FROM there t WHERE t.is_default)
	UNION ALL
	SELECT m
	FROM generate_series(date_trunc('month', _since), _until, interval '1 month') m
	WHERE NOT EXISTS (SELECT FROM there t WHERE t.from_time < m + interval '1 month' AND t.to_time > m)
	AND NOT EXISTS (
		SELECT FROM payments.partition_retired r WHERE r.table_name = _table_name AND r.to_time > m
	)
$$;
COMMENT ON FUNCTION payments._missing_partitions(text, timestamptz, timestamptz) IS 'Internal: months without a partition that were not retired; null: there is no default partition.';

CREATE FUNCTION payments._make_partitions(_ahead interval, _since timestamptz) RETURNS int
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	t text;
	tables text[] := '{}';
	month timestamptz;
	first timestamptz := least(clock_timestamp(), _since);
	last timestamptz := clock_timestamp() + _ahead;
	made int := 0;
BEGIN
	IF _ahead IS NULL
		OR _ahead < interval '0'
		OR _ahead > interval '10 years'
		OR _since < clock_timestamp() - interval '100 years' THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'ahead must be between 0 and 10 years, and since within the last 100 years',
			HINT = 'Leave both out for the next three months.';
	END IF;
	PERFORM payments._keep_row_types();
	FOR t IN SELECT d.name FROM payments._tables() d WHERE d.partition_key IS NOT NULL LOOP
		CONTINUE WHEN NOT EXISTS (SELECT FROM payments._missing_partitions(t, first, last));
		-- Before anything else of the table is locked: who retires has it and wants more.
		IF NOT payments._lock_partitioning(t) THEN
			RAISE WARNING USING
				MESSAGE = format(
					'could not make partitions of "payments.%s": another session makes or retires some',
					t),
				HINT = 'The worker tries again; or call payments.make_partitions().';
			CONTINUE;
		END IF;
		tables := tables || t;
	END LOOP;
	IF NOT payments._lock_default_partitions(tables) THEN
		RAISE WARNING USING
			MESSAGE = 'could not make partitions: another session reads or writes the default ones',
			HINT = 'The worker tries again; or call payments.make_partitions().';
		RETURN 0;
	END IF;
	FOREACH t IN ARRAY tables LOOP
		FOR month IN SELECT * FROM payments._missing_partitions(t, first, last) LOOP
			made := made + payments._make_partition(t, month, month + interval '1 month')::int;
		END LOOP;
	END LOOP;
	PERFORM payments._keep_row_types();
	RETURN made;
END
$$;
COMMENT ON FUNCTION payments._make_partitions(interval, timestamptz) IS 'Internal: make_partitions() without the right to change tables, for setup() too.';

CREATE FUNCTION payments.make_partitions(ahead interval DEFAULT '3 months', since timestamptz DEFAULT NULL)
	RETURNS int
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_make_partitions';
COMMENT ON FUNCTION payments.make_partitions(interval, timestamptz) IS
'Makes the monthly partitions (UTC) of posting, payment_status and event that are missing from now until ahead, or from since on, and returns how many it made. setup() and the worker call it. Nobody waits for it for more than 200 ms: a partition that would need longer, or whose rows are in the default partition already, is left out with a WARNING. Raises 22023.';
