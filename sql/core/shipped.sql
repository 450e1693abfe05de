-- Rows that are shipped are made by CREATE EXTENSION, and only by it: a dump
-- leaves them out, an upgrade makes them anew, and who runs a job trusts them.

CREATE FUNCTION payments.guard_shipped() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- Of INSERT there is no old row, of DELETE no new one.
	IF (old.builtin OR new.builtin)
		AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		RAISE EXCEPTION USING
			ERRCODE = '42501',
			MESSAGE = format('shipped rows of %I.%I are not yours to change', tg_table_schema, tg_table_name),
			HINT = CASE tg_table_name
				WHEN 'settlement_format' THEN 'INSERT one with builtin = false and a name of its own.'
				ELSE 'INSERT one with builtin = false: it wins over the shipped one, and a dump keeps it.'
			END;
	END IF;
	RETURN coalesce(new, old);
END
$$;
COMMENT ON FUNCTION payments.guard_shipped() IS 'Trigger: keeps rows with builtin = true from everybody but superusers (42501).';

DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN
		SELECT c.oid::regclass
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_depend d
			ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'builtin'
		WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'r'
	LOOP
		EXECUTE format('CREATE TRIGGER guard_shipped BEFORE INSERT OR UPDATE OR DELETE ON %s
			FOR EACH ROW EXECUTE FUNCTION payments.guard_shipped()', t);
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_shipped', t);
	END LOOP;
END
$$;
