-- The guards of all tables, as core/table.c has them; those that one table has
-- alone stand beside it.  Triggers only check, they never fill: a data-only
-- restore must give the same rows.  ENABLE ALWAYS, or session_replication_role
-- = replica walks past them.
DO $guards$
DECLARE
	t record;
BEGIN
	-- One for each row, under the name of one for statements, would stay in partitions if only
	-- replaced.
	FOR t IN
		SELECT g.root, g.guard
		FROM payments._guards_off() g
		JOIN pg_trigger r ON r.tgrelid = to_regclass('payments.' || g.root) AND r.tgname = g.guard
		WHERE g.tbl = g.root
	LOOP
		EXECUTE format('DROP TRIGGER %I ON payments.%I', t.guard, t.root);
	END LOOP;
	FOR t IN
		SELECT r.name, r.rows
		FROM payments._tables() r
		WHERE 'guard_truncate' = ANY (r.guards)
		-- That of the installation is made last.
		AND to_regclass('payments.' || r.name) IS NOT NULL
	LOOP
		EXECUTE format('CREATE OR REPLACE TRIGGER guard_truncate BEFORE TRUNCATE ON payments.%I
			FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_append_only()', t.name);
		EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER guard_truncate', t.name);
		IF t.rows IN ('append_only', 'consumed') THEN
			EXECUTE format('CREATE OR REPLACE TRIGGER guard_append_only BEFORE UPDATE %s ON payments.%I
				FOR EACH ROW EXECUTE FUNCTION payments.guard_append_only()', CASE t.rows WHEN 'append_only' THEN 'OR DELETE' END, t.name);
			EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER guard_append_only', t.name);
		ELSIF t.rows = 'facts' THEN
			EXECUTE format(
				'CREATE OR REPLACE TRIGGER guard_facts BEFORE INSERT OR UPDATE OR DELETE ON payments.%I
				FOR EACH ROW EXECUTE FUNCTION payments.guard_facts()', t.name);
			EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER guard_facts', t.name);
		END IF;
	END LOOP;
END
$guards$;
