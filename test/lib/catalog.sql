-- What a schema is, as sorted text, to compare two versions of it by diff:
--
--	psql -qX -v schema=payments -f test/lib/catalog.sql
--
-- Nothing in it depends on oids, on the order in which things were made, or on
-- the month: of the partitions the default one is listed.  Of _setup_tables()
-- what it makes is, not its text.  Columns are numbered, since COPY goes by that.

\pset format unaligned
\pset tuples_only on
\pset pager off
\if :{?schema}
\else
\set schema payments
\endif
SET search_path = pg_catalog, pg_temp;
SET timezone = 'UTC';

CREATE TEMP VIEW our_relation AS
SELECT c.*, c.oid::regclass::text AS name FROM pg_class c
WHERE c.relnamespace = :'schema'::regnamespace AND c.relname !~ '_\d{4}_\d\d(_|$)';

CREATE FUNCTION pg_temp.acl(acl aclitem[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s: %s%s by %s', CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END, x.privilege_type,
		CASE WHEN x.is_grantable THEN ' grantable' ELSE '' END, x.grantor::regrole), ', ' ORDER BY x.grantee::regrole::text COLLATE "C", x.privilege_type COLLATE "C")
	FROM aclexplode(acl) x
$$;

SELECT line FROM (
	SELECT format('relation %s: kind %s, owner %s, persistence %s, options %s, row security %s %s, acl %s, member %s, dump of rows %s', c.name, c.relkind, c.relowner::regrole,
		c.relpersistence, (SELECT string_agg(o, ',' ORDER BY o) FROM unnest(c.reloptions) o), c.relrowsecurity, c.relforcerowsecurity, pg_temp.acl(c.relacl),
		EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'),
		(SELECT x.extcondition[i] FROM pg_extension x, generate_subscripts(x.extconfig, 1) i WHERE x.extconfig[i] = c.oid))
	FROM our_relation c WHERE c.relkind <> 'i' AND c.relkind <> 'I'
	UNION ALL
	SELECT format('view %s: %s', c.name, pg_get_viewdef(c.oid)) FROM our_relation c WHERE c.relkind IN ('v', 'm')
	UNION ALL
	SELECT format('partitioned %s: %s', c.name, pg_get_partkeydef(c.oid)) FROM our_relation c WHERE c.relkind = 'p'
	UNION ALL
	SELECT format('partition %s: of %s %s', c.name, i.inhparent::regclass, pg_get_expr(c.relpartbound, c.oid)) FROM our_relation c JOIN pg_inherits i ON i.inhrelid = c.oid
	WHERE c.relkind = 'r'
	UNION ALL
	SELECT format('column %s.%s: %s %s, not null %s, default %s, identity %s, storage %s, compression %s, statistics %s, collation %s, acl %s', c.name, a.attname,
		row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity,
		a.attstorage, a.attcompression, a.attstattarget, nullif(a.attcollation, 0)::regcollation, pg_temp.acl(a.attacl))
	FROM our_relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE c.relkind NOT IN ('i', 'I')
	UNION ALL
	SELECT format('constraint %s.%s: %s', c.name, n.conname, pg_get_constraintdef(n.oid)) FROM our_relation c JOIN pg_constraint n ON n.conrelid = c.oid
	WHERE n.contype NOT IN ('n', 't')	-- NOT NULL is one from 18 on
	UNION ALL
	SELECT format('index %s: %s', c.name, pg_get_indexdef(c.oid)) FROM our_relation c WHERE c.relkind IN ('i', 'I')
	UNION ALL
	SELECT format('trigger %s.%s: enabled %s, %s', c.name, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid)) FROM our_relation c JOIN pg_trigger t ON t.tgrelid = c.oid
	WHERE NOT t.tgisinternal
	UNION ALL
	SELECT format('policy %s.%s: command %s, permissive %s, roles %s, using %s, check %s', c.name, p.polname, p.polcmd, p.polpermissive,
		(SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ',' ORDER BY r) FROM unnest(p.polroles) r),
		pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
	FROM our_relation c JOIN pg_policy p ON p.polrelid = c.oid
	UNION ALL
	SELECT format('rule %s.%s: %s', c.name, r.rulename, pg_get_ruledef(r.oid)) FROM our_relation c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE c.relkind NOT IN ('v', 'm')
	UNION ALL
	SELECT format('comment on %s%s: %s', c.name, '.' || a.attname, d.description) FROM our_relation c
	JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
	LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
	UNION ALL
	SELECT format('function %s: owner %s, acl %s, comment %s, %s', f.oid::regprocedure, f.proowner::regrole, pg_temp.acl(f.proacl), obj_description(f.oid, 'pg_proc'),
		CASE WHEN f.proname <> '_setup_tables' THEN pg_get_functiondef(f.oid) END)
	FROM pg_proc f WHERE f.pronamespace = :'schema'::regnamespace AND f.prokind <> 'a'
	UNION ALL
	SELECT format('type %s: %s, comment %s', t.oid::regtype, t.typtype, obj_description(t.oid, 'pg_type'))
	FROM pg_type t WHERE t.typnamespace = :'schema'::regnamespace AND t.typtype IN ('d', 'e', 'r')
	UNION ALL
	SELECT format('operator class %s: comment %s', o.opcname, obj_description(o.oid, 'pg_opclass')) FROM pg_opclass o WHERE o.opcnamespace = :'schema'::regnamespace
	UNION ALL
	SELECT format('schema %s: owner %s, acl %s', n.nspname, n.nspowner::regrole, pg_temp.acl(n.nspacl)) FROM pg_namespace n WHERE n.nspname = :'schema'
) l (line) ORDER BY line COLLATE "C";
