-- Rows that are shipped are made by CREATE EXTENSION, and only by it: a dump
-- leaves them out, an upgrade makes them anew, and who runs a job trusts them.

CREATE FUNCTION payments.guard_shipped() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	is_shipped boolean := true;
BEGIN
	IF tg_op <> 'TRUNCATE' AND tg_table_name <> 'transition' THEN
		-- Of INSERT there is no old row, of DELETE no new one.
		is_shipped := old.builtin OR new.builtin;
	END IF;
	IF is_shipped AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		RAISE EXCEPTION USING
			ERRCODE = '42501',
			MESSAGE = format('shipped rows of %I.%I are not yours to change', tg_table_schema, tg_table_name),
			HINT = 'INSERT one with builtin = false: it wins over the shipped one, and a dump keeps it.';
	END IF;
	RETURN coalesce(new, old);
END
$$;
COMMENT ON FUNCTION payments.guard_shipped() IS 'Trigger: keeps rows with builtin = true, and all of transition, from everybody but superusers (42501), and from TRUNCATE.';

DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN
		SELECT c.oid::regclass
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_depend d
			ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'r'
	LOOP
		EXECUTE format('CREATE TRIGGER guard_shipped BEFORE INSERT OR UPDATE OR DELETE ON %s
			FOR EACH ROW EXECUTE FUNCTION payments.guard_shipped()', t);
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_shipped', t);
		EXECUTE format('CREATE TRIGGER guard_shipped_truncate BEFORE TRUNCATE ON %s
			FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_shipped()', t);
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_shipped_truncate', t);
	END LOOP;
END
$$;
