-- An application sees the merchants that it may act for, by the roles whose
-- rights it has without taking them.  A role that is gone
-- has no members, and must not make the rows of all others unreadable: so it is
-- not asked for by its name.
CREATE OR REPLACE VIEW payments._my_merchant WITH (security_barrier) AS
SELECT m.merchant FROM payments.merchant m
WHERE m.app_role IS NULL OR pg_has_role(to_regrole(quote_ident(m.app_role)), 'USAGE')
OR pg_has_role('payments_auditor', 'USAGE') OR pg_has_role('payments_operator', 'USAGE') OR pg_has_role('payments_admin', 'USAGE');
COMMENT ON VIEW payments._my_merchant IS 'internal: merchants whose rows the current role may read';
COMMENT ON COLUMN payments._my_merchant.merchant IS 'the merchant';

-- Who may read.  Nobody but payments_owner may write: that is what the
-- functions are for.  Partitions are granted to nobody: they are read through
-- their table, whose policies hold then.
--
-- Whatever is there of our roles and PUBLIC goes first, also of what was
-- retired: what is listed here is all.  So does what others have that is on no
-- list, and all that they have of what was made just now: default privileges are
-- nobody's word about payments.  Members have theirs from core/grants.sql, where
-- only administrators write.
DO $grants$
DECLARE
	t record;
	repair text;
BEGIN
	FOR repair IN SELECT o.repair FROM payments._grants_of_others() o LOOP
		EXECUTE repair;
	END LOOP;
	FOR t IN
		SELECT c.oid::regclass AS name,
			NOT c.relispartition AND c.relname !~ '^retired_' AS is_read,
			EXISTS (
				SELECT FROM pg_depend d
				WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
			) AS is_member,
			EXISTS (
				SELECT FROM payments.installation i
				WHERE i.set_up_at = now()
				OR (
					i.made <> '{}'
					AND NOT EXISTS (
						SELECT FROM unnest(i.made) m (line)
						WHERE starts_with(m.line, concat_ws(' ', 'relation', c.relname, c.relkind))
					)
				)
			) AS is_new
		FROM pg_class c
		WHERE c.relnamespace = 'payments'::regnamespace
		AND c.relkind IN ('r', 'p', 'v')
		AND c.relowner = 'payments_owner'::regrole
	LOOP
		IF t.is_new AND t.is_read AND NOT t.is_member THEN
			PERFORM payments._revoke_all(t.name);
		END IF;
		IF t.is_member THEN
			EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC, payments_worker CASCADE', t.name);
			EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON TABLE %s
				FROM payments_app, payments_operator, payments_auditor CASCADE', t.name);
			CONTINUE;
		END IF;
		EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC, payments_app, payments_operator, payments_admin,
			payments_auditor, payments_worker CASCADE', t.name);
		IF t.is_read THEN
			EXECUTE format(
				'GRANT SELECT ON TABLE %s TO payments_operator, payments_admin, payments_auditor', t.name);
		END IF;
	END LOOP;
END
$grants$;
-- Keys at PSPs could be foretold from it.
REVOKE ALL ON payments.installation_salt FROM payments_operator, payments_admin, payments_auditor;

-- Tables that applications read are marked in core/table.c.
GRANT SELECT ON payments.worker_status, payments.seal_head, payments.closed_balance, payments.dispute TO payments_app;

-- Nobody may refer to a table by a foreign key: whoever may keeps it locked as long as he likes, and where the types
-- differ a cast of his runs as payments_owner.  A superuser gives it of the keys of payments and operations to a role
-- that he trusts with that, and it stays (core/others.sql).

-- Rates are an administrator's, like rules and schedules.
GRANT INSERT, UPDATE, DELETE ON payments.vat_rule TO payments_admin;

-- How many calls a PSP gets, and how long one may take; the rest of its row is create_psp()'s.
GRANT UPDATE (inflight_max, calls_per_second, timeout) ON payments.psp TO payments_admin;

-- Files come by COPY into here, to be imported in the same transaction.
GRANT INSERT (line) ON payments.settlement_staging TO payments_operator, payments_admin;

GRANT SELECT ON payments._my_merchant TO payments_app, payments_operator, payments_admin, payments_auditor;

-- Permissive policies add up, so there is one.  Nor is a table's owner, as whom our functions run, subject to them.
DO $policies$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT p.polname, c.oid::regclass AS name
		FROM pg_policy p
		JOIN pg_class c ON c.oid = p.polrelid
		WHERE c.relnamespace = 'payments'::regnamespace AND p.polpermissive AND p.polname <> 'by_merchant'
	LOOP
		EXECUTE format('DROP POLICY %I ON %s', t.polname, t.name);
	END LOOP;
	FOR t IN SELECT * FROM payments._tables() LOOP
		IF t.app_reads THEN
			EXECUTE format('GRANT SELECT ON payments.%I TO payments_app', t.name);
		END IF;
		EXECUTE format('ALTER TABLE payments.%I NO FORCE ROW LEVEL SECURITY', t.name);
		CONTINUE WHEN t.merchant_by IS NULL;
		EXECUTE format('ALTER TABLE payments.%I ENABLE ROW LEVEL SECURITY', t.name);
		EXECUTE format('DROP POLICY IF EXISTS by_merchant ON payments.%I', t.name);
		EXECUTE format('CREATE POLICY by_merchant ON payments.%I FOR SELECT USING (%s)', t.name,
			CASE
				WHEN t.merchant_in IS NULL
					THEN format('%I IN (SELECT m.merchant FROM payments._my_merchant m)', t.merchant_by)
				ELSE format('EXISTS (SELECT FROM payments.%1$I o WHERE o.%2$I = %3$I.%2$I)', t.merchant_in,
					t.merchant_by, t.name)
			END);
	END LOOP;
END
$policies$;
