-- What the catalogs say beside the definitions.  By flags the server passes over
-- what is there: triggers, CHECKs and indexes of a table that says that it has
-- none, uniqueness that is asked for at the end, a month that is no part.

CREATE FUNCTION payments._catalog_differs() RETURNS TABLE (line text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH class AS MATERIALIZED (
		SELECT c.*,
			i.inhparent AS parent
		FROM pg_class c
		LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
		WHERE c.relnamespace = 'payments'::regnamespace
	),
	part AS MATERIALIZED (
		SELECT c.*
		FROM class c
		JOIN class p ON p.oid = c.parent AND p.relkind = 'p'
		WHERE c.relkind IN ('r', 'p')
	)
	SELECT concat_ws(' ', 'table', c.relname, 'does not tell of its', w.what)
	FROM class c
	CROSS JOIN LATERAL (
		SELECT 'triggers'
		WHERE NOT c.relhastriggers AND EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid)
		UNION ALL
		SELECT 'indexes'
		WHERE NOT c.relhasindex AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid)
		UNION ALL
		SELECT 'constraints'
		WHERE c.relchecks <> (
			SELECT count(*) FROM pg_constraint n WHERE n.conrelid = c.oid AND n.contype = 'c'
		)
		UNION ALL
		SELECT 'partitions'
		WHERE c.relkind = 'p'
		AND NOT c.relhassubclass
		AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
		UNION ALL
		SELECT 'parent'
		WHERE (c.parent IS NOT NULL) <> c.relispartition
		UNION ALL
		SELECT 'columns'
		WHERE c.relnatts <> (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)
	) w (what)
	WHERE c.relkind IN ('r', 'p')
	UNION ALL
	SELECT concat_ws(' ', 'view', c.relname, 'does not show what it should')
	FROM class c
	LEFT JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN' AND r.ev_enabled = 'O'
	WHERE c.relkind = 'v' AND (r.oid IS NULL OR NOT c.relhasrules)
	UNION ALL
	SELECT concat_ws(' ', 'column', c.relname, a.attname, 'says that it has no default, or that it has one')
	FROM class c
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relkind IN ('r', 'p')
	AND a.atthasdef <> EXISTS (SELECT FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)
	UNION ALL
	SELECT concat_ws(' ', 'index', c.relname, 'does not hold what it should')
	FROM class c
	JOIN pg_index i ON i.indexrelid = c.oid
	WHERE NOT (i.indisready AND i.indislive AND i.indisvalid)
	OR i.indimmediate = EXISTS (
		SELECT
		FROM pg_constraint n
		WHERE n.conindid = i.indexrelid AND n.conrelid = i.indrelid AND n.condeferrable
	)
	UNION ALL
	-- Foreign keys are triggers of the server's.
	SELECT concat_ws(' ', 'constraint', c.relname, n.conname, 'is not asked for')
	FROM class c
	JOIN pg_constraint n ON n.conrelid = c.oid AND n.contype = 'f'
	WHERE NOT n.convalidated
	OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = n.oid AND t.tgrelid = n.conrelid)
	OR EXISTS (
		SELECT FROM pg_trigger t WHERE t.tgconstraint = n.oid AND t.tgisinternal AND t.tgenabled <> 'O'
	)
	UNION ALL
	SELECT concat_ws(' ', 'sequence', c.relname, 'gives other numbers than the next')
	FROM class c
	JOIN pg_sequence s ON s.seqrelid = c.oid
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i'
	JOIN pg_class o ON d.refclassid = 'pg_class'::regclass AND o.oid = d.refobjid
	WHERE s.seqcycle
	OR s.seqincrement <> 1
	OR s.seqmin <> 1
	OR s.seqtypid <> 'bigint'::regtype
	OR c.relpersistence <> o.relpersistence
	UNION ALL
	-- A month is as the table that it is a part of.
	SELECT concat_ws(' ', 'column', c.relname, a.attname, 'is not that of', a.attrelid::regclass)
	FROM part c
	JOIN pg_attribute a ON a.attrelid = c.parent AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	LEFT JOIN pg_attribute m ON m.attrelid = c.oid AND m.attname = a.attname AND NOT m.attisdropped
	LEFT JOIN pg_attrdef e ON e.adrelid = m.attrelid AND e.adnum = m.attnum
	WHERE (a.atttypid, a.atttypmod, a.attgenerated, a.attnotnull) IS DISTINCT FROM (m.atttypid, m.atttypmod,
		m.attgenerated, m.attnotnull)
	OR pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM pg_get_expr(e.adbin, e.adrelid)
	UNION ALL
	SELECT concat_ws(' ', 'constraint', c.relname, n.conname, 'is not that of', c.parent::regclass)
	FROM part c
	JOIN pg_constraint n ON n.conrelid = c.parent AND n.contype IN ('c', 'f', 'p', 'u')
	WHERE NOT EXISTS (
		SELECT
		FROM pg_constraint m
		WHERE m.conrelid = c.oid
		AND (m.conparentid = n.oid OR n.contype = 'c' AND m.conname = n.conname)
		AND pg_get_constraintdef(m.oid) = pg_get_constraintdef(n.oid)
	)
	UNION ALL
	SELECT concat_ws(' ', 'index', i.indexrelid::regclass, 'has no part in', c.relname)
	FROM part c
	JOIN pg_index i ON i.indrelid = c.parent
	WHERE NOT EXISTS (
		SELECT
		FROM pg_inherits h
		JOIN pg_index m ON m.indexrelid = h.inhrelid
		WHERE h.inhparent = i.indexrelid
		AND m.indrelid = c.oid
		AND m.indisunique = i.indisunique
		AND m.indnullsnotdistinct = i.indnullsnotdistinct
		AND pg_get_expr(m.indpred, m.indrelid) IS NOT DISTINCT FROM pg_get_expr(i.indpred, i.indrelid)
	)
	UNION ALL
	SELECT concat_ws(' ', 'table', c.relname, 'is no part of', t.name)
	FROM payments._tables() t
	JOIN class c ON c.relkind = 'r' AND c.relname ~ ('^' || t.name || '_([0-9]{4}_[0-9]{2}|default)$')
	WHERE t.partition_key IS NOT NULL
	AND c.parent IS DISTINCT FROM to_regclass('payments.' || t.name)::oid
	UNION ALL
	SELECT concat_ws(' ', 'trigger', c.relname, g.name, 'is missing, off, or another one')
	FROM class c
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	-- Bits as in _guards_off().
	CROSS JOIN (
		VALUES ('guard_shipped', 1 + 2 + 4 + 8 + 16), ('guard_shipped_truncate', 2 + 32)
	) g (name, type)
	LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = g.name
	WHERE c.relkind = 'r'
	AND (t.tgenabled::text, t.tgfoid, t.tgtype::int, t.tgqual IS NULL, cardinality(t.tgattr))
		IS DISTINCT FROM ('A', to_regproc('payments.guard_shipped')::oid, g.type, true, 0)
	UNION ALL
	-- It may swallow rows, or write others.  Those of tables with guards are known by their names.
	SELECT concat_ws(' ', 'trigger', c.relname, t.tgname, 'is another''s and comes before')
	FROM class c
	JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 2 <> 0
	WHERE NOT EXISTS (
		SELECT
		FROM pg_depend d
		WHERE d.classid = 'pg_proc'::regclass AND d.objid = t.tgfoid AND d.deptype = 'e'
		AND d.refobjid = (SELECT x.oid FROM pg_extension x WHERE x.extname = 'payments')
	)
	AND NOT EXISTS (
		SELECT
		FROM payments._tables() g
		WHERE g.guards <> '{}' AND to_regclass('payments.' || g.name)::oid = coalesce(c.parent, c.oid)
	)
	UNION ALL
	SELECT 'language payments runs functions by ' || l.lanplcallfoid::regproc
	FROM pg_language l
	WHERE l.lanname = 'payments'
	AND (l.lanplcallfoid, l.lanpltrusted)
		IS DISTINCT FROM (to_regproc('payments._call_plpgsql')::oid, false)
$$;
COMMENT ON FUNCTION payments._catalog_differs() IS 'Internal: flags and parts of tables that are not what they must be, whatever setup() has written down.';
