-- What others have of ours, and what of theirs could pass for ours.
--
-- ALTER DEFAULT PRIVILEGES gives away what is made before anybody has asked,
-- and a function that somebody puts beside ours is called in its place where its
-- arguments fit better.

CREATE FUNCTION payments._grantees(_privileges aclitem[], _owner oid) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT string_agg(DISTINCT g.name, ', ')
	FROM aclexplode(_privileges) a
	CROSS JOIN LATERAL (
		SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
	) g (name)
	WHERE a.grantee NOT IN (_owner, 'payments_owner'::regrole)
$$;
COMMENT ON FUNCTION payments._grantees(aclitem[], oid) IS 'Internal: who but the owner has one of these privileges, as REVOKE wants them; null for nobody.';

CREATE FUNCTION payments._revoke_all(_relation regclass) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	others text;
BEGIN
	SELECT payments._grantees(
		c.relacl || (
			SELECT array_agg(i.acl)
			FROM pg_attribute a
			CROSS JOIN LATERAL unnest(a.attacl) i (acl)
			WHERE a.attrelid = c.oid
		),
		c.relowner)
	INTO others
	FROM pg_class c
	WHERE c.oid = _relation;
	IF others IS NOT NULL THEN
		EXECUTE format('REVOKE ALL ON TABLE %s FROM %s CASCADE', _relation, others);
	END IF;
END
$$;
COMMENT ON FUNCTION payments._revoke_all(regclass) IS 'Internal: nobody but its owner has any privilege on the table, view or sequence afterwards.';

-- Functions are an extension's as it has left them: the server has kept the list that core/grants.sql made.
-- What a superuser has given of tables is for him to say, but there is no reason to give these: partitions,
-- which no policy guards, the salt, counters, and foreign keys to what is not meant for that.
CREATE FUNCTION payments._grants_of_others() RETURNS TABLE (line text, repair text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT concat_ws(' ', 'grant', p.oid::regprocedure, g.name, a.privilege_type),
		format('REVOKE %s ON ROUTINE %s FROM %s CASCADE',
			CASE WHEN l.listed THEN 'GRANT OPTION FOR EXECUTE' ELSE 'ALL' END, p.oid::regprocedure, g.name)
	FROM pg_extension x
	JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'e'
	JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
	CROSS JOIN LATERAL (
		SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
	) g (name)
	CROSS JOIN LATERAL (
		SELECT EXISTS (
			SELECT
			FROM pg_init_privs i
			CROSS JOIN LATERAL aclexplode(i.initprivs) b
			WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid AND b.grantee = a.grantee
		)
	) l (listed)
	WHERE x.extname = 'payments' AND a.grantee <> p.proowner AND (a.is_grantable OR NOT l.listed)
	UNION ALL
	SELECT concat_ws(' ', 'grant', concat_ws('.', c.relname, t.attname), r.rolname, a.privilege_type),
		format('REVOKE %s ON TABLE %s FROM %I CASCADE',
			concat_ws(' ', a.privilege_type, '(' || quote_ident(t.attname) || ')'), c.oid::regclass,
			r.rolname)
	FROM pg_class c
	CROSS JOIN LATERAL (
		SELECT NULL AS attname, c.relacl AS privileges
		UNION ALL
		SELECT n.attname, n.attacl FROM pg_attribute n WHERE n.attrelid = c.oid AND n.attacl IS NOT NULL
	) t
	CROSS JOIN LATERAL aclexplode(t.privileges) a
	JOIN pg_roles r ON r.oid = a.grantee
	WHERE c.relnamespace = 'payments'::regnamespace
	AND a.grantee <> c.relowner
	AND NOT payments._is_our_role(r.rolname)
	AND (
		c.relispartition
		OR c.relname = 'installation_salt'
		OR c.relkind = 'S'
		OR (
			a.privilege_type = 'REFERENCES'
			AND (c.relname, t.attname) IN (('payment', 'payment_id'), ('operation', 'operation_id'))
				IS NOT TRUE
		)
	)
$$;
COMMENT ON FUNCTION payments._grants_of_others() IS
'Internal: privileges that are on no list: those on functions of the extension, whosever; those of roles that are not its own on what nobody but these is to have; and the statement that takes each back.';

CREATE FUNCTION payments._is_our_role(_name name) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT _name = ANY (
		ARRAY['payments_owner', 'payments_app', 'payments_operator', 'payments_admin', 'payments_auditor',
			'payments_worker', 'payments_adapter']::name[])
$$;
COMMENT ON FUNCTION payments._is_our_role(name) IS 'Internal: is it one of the roles that the extension makes?';

CREATE FUNCTION payments._strangers() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT pg_describe_object(d.classid, d.objid, 0)
	FROM pg_depend d
	WHERE d.refclassid = 'pg_namespace'::regclass
	AND d.refobjid = 'payments'::regnamespace
	-- Of a relation there is one of each name, and it is ours; the others name the schema, or help the
	-- planner.
	AND d.classid <> ALL (
		ARRAY['pg_class', 'pg_extension', 'pg_publication_namespace', 'pg_statistic_ext']::regclass[])
	-- Sets and look-ups, not joins: without statistics, as after setup(), these took seconds.
	AND (d.classid, d.objid) NOT IN (
		SELECT m.classid, m.objid
		FROM pg_depend m
		JOIN pg_extension x ON m.refclassid = 'pg_extension'::regclass AND x.oid = m.refobjid
		WHERE m.deptype = 'e' AND x.extname = 'payments'
	)
	UNION ALL
	SELECT pg_describe_object('pg_cast'::regclass, c.oid, 0)
	FROM pg_cast c
	WHERE EXISTS (
		SELECT FROM pg_type t
		WHERE t.oid IN (c.castsource, c.casttarget) AND t.typnamespace = 'payments'::regnamespace
	)
	UNION ALL
	-- Where the types of a foreign key differ, a cast runs as whose the table is that it refers to.
	SELECT pg_describe_object('pg_constraint'::regclass, k.oid, 0)
	FROM pg_constraint k
	WHERE k.contype = 'f'
	AND (SELECT c.relnamespace FROM pg_class c WHERE c.oid = k.confrelid) = 'payments'::regnamespace
	AND EXISTS (
		SELECT
		FROM unnest(k.conkey, k.confkey) n (of_one, of_other)
		JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n.of_one
		JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = n.of_other
		WHERE a.atttypid <> b.atttypid
	)
$$;
COMMENT ON FUNCTION payments._strangers() IS
'Internal: what is no part of the extension and could run in its place or with its rights: functions, operators, types and the like in its schema, casts from or to its types, and foreign keys to its tables that cast.';

CREATE FUNCTION payments._warn_of_strangers() RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	found text[] := ARRAY(SELECT s FROM payments._strangers() s ORDER BY 1);
BEGIN
	IF found <> '{}' THEN
		RAISE WARNING USING
			MESSAGE = format(
				'%s things that are no part of the extension may run in its place: %s', cardinality(found),
				found[1]),
			DETAIL = coalesce(nullif(array_to_string(found[2:20], E'\n'), ''), 'There are no others.'),
			HINT = 'Find out who made it, and drop it: what is yours has its place in a schema of your own.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._warn_of_strangers() IS 'Internal: setup() says what it has found of them.';

-- A column of the row type of one of our tables keeps that table from being changed, or dropped when its time
-- has come, and needs no right to the table.  No dump has this privilege, so it is taken again and again.
CREATE FUNCTION payments._keep_row_types() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t regtype;
	types regtype[] := ARRAY(
		SELECT y.oid
		FROM pg_type y
		JOIN pg_class c ON c.oid = y.typrelid
		WHERE c.relnamespace = 'payments'::regnamespace
		AND c.relkind IN ('r', 'p', 'v')
		AND c.relowner = 'payments_owner'::regrole
		AND EXISTS (
			SELECT FROM aclexplode(coalesce(y.typacl, acldefault('T', y.typowner))) a WHERE a.grantee = 0
		)
	);
BEGIN
	-- One at a time; who comes second finds nothing to do the next time.
	IF types = '{}' OR NOT payments._lock_partitioning('transition') THEN
		RETURN;
	END IF;
	FOREACH t IN ARRAY types LOOP
		EXECUTE format('REVOKE USAGE ON TYPE %s FROM PUBLIC', t);
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._keep_row_types() IS 'Internal: takes USAGE of the row types of our tables from PUBLIC, where it has it.';
