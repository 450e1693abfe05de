-- If this fails, an installation is not what the documents say: a verb before
-- setup() crashes or does half of its work, a second setup() changes
-- something, or a function of ours runs with the owner's rights and the
-- caller's search_path.
--
-- The first test: it makes the tables that the others use.

\set VERBOSITY terse
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN sqlstate || ' ' || sqlerrm || CASE WHEN hint <> '' THEN ' / ' || hint ELSE '' END;
END
$$;

-- Before setup(): every verb says so, whether it is written in C or in SQL.
SELECT v AS verb, pg_temp.attempt('SELECT payments.' || v) AS outcome
FROM unnest(ARRAY[
	$$create_payment('k', 1, 'EUR')$$,
	$$capture_payment(gen_random_uuid(), 'k')$$,
	$$cancel_payment(gen_random_uuid(), 'k')$$,
	$$refund_payment(gen_random_uuid(), 'k')$$,
	$$get_payment(gen_random_uuid())$$,
	$$payment_history(gen_random_uuid())$$,
	$$wait_payment(gen_random_uuid())$$,
	$$receive_webhook('stripe', '{}', '')$$,
	$$redrive(gen_random_uuid())$$,
	$$discard(gen_random_uuid(), 'because')$$,
	$$claim('w')$$,
	$$complete(gen_random_uuid(), 1, 200)$$,
	$$create_merchant('m')$$,
	$$create_psp('p', 'stripe')$$,
	$$resume_psp('p')$$,
	$$arm()$$,
	$$disarm()$$,
	$$create_account('a', 'EUR', 'asset')$$,
	$$post(1, 2, 3)$$,
	$$balance(1)$$,
	$$check()$$]) v;

SELECT payments.version() = (SELECT extversion FROM pg_extension WHERE extname = 'payments') AS version_is_the_extensions;

SELECT payments.setup();

-- A second time: nothing new, nothing lost.
CREATE TEMP TABLE before AS
SELECT 'class' AS kind, c.oid, c.relname::text AS name FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace
UNION ALL SELECT 'trigger', t.oid, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'payments'::regnamespace
UNION ALL SELECT 'constraint', n.oid, n.conname FROM pg_constraint n WHERE n.connamespace = 'payments'::regnamespace;
SELECT payments.setup();
SELECT count(*) AS changed FROM before b
FULL JOIN (
	SELECT 'class' AS kind, c.oid, c.relname::text AS name FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace
	UNION ALL SELECT 'trigger', t.oid, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'payments'::regnamespace
	UNION ALL SELECT 'constraint', n.oid, n.conname FROM pg_constraint n WHERE n.connamespace = 'payments'::regnamespace) a
	USING (kind, oid, name)
WHERE a.oid IS NULL OR b.oid IS NULL;
SELECT payments.migrate();

-- What a fresh installation has.
SELECT merchant, app_role, psp FROM payments.merchant ORDER BY merchant;
SELECT psp, adapter, base_url, secret, halted_at FROM payments.psp ORDER BY psp;
SELECT worker_enabled, armed_system IS NULL AS unarmed, schema_version = payments.version() AS current FROM payments.installation;
SELECT invariant, violations FROM payments.check() WHERE NOT ok;
SELECT count(*) > 15 AS checks_a_lot FROM payments.check();

-- Tables are no members of the extension, or a dump would lose the rows.
SELECT c.relname AS member_table FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p')
AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'payments') ORDER BY 1;

-- Everything belongs to payments_owner, who is nobody's login and no superuser.
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S', 'm')
AND c.relowner <> 'payments_owner'::regrole ORDER BY 1;
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace AND p.proowner <> 'payments_owner'::regrole ORDER BY 1;
SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname LIKE 'payments\_%' ORDER BY 1;

-- PUBLIC has nothing.
SELECT c.relname, a.privilege_type FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND a.grantee = 0 ORDER BY 1, 2;
SELECT p.oid::regprocedure, a.privilege_type FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'payments'::regnamespace AND a.grantee = 0 ORDER BY 1, 2;
SELECT n.nspname, a.privilege_type FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
WHERE n.nspname = 'payments' AND a.grantee = 0;

-- A definer's function forgets who called it.  One that acts as payments_owner without a pinned path runs what its caller puts in front.
SELECT p.oid::regprocedure, p.proconfig FROM pg_proc p
WHERE p.pronamespace = 'payments'::regnamespace AND (p.prosecdef OR p.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'payments')
AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)) ORDER BY 1;
SELECT count(*) > 20 AS there_are_some FROM pg_proc p
WHERE p.pronamespace = 'payments'::regnamespace AND p.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'payments');

-- No view lends its owner's rights to its reader, but for the list of the reader's own merchants, and totals.
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'v'
AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false) ORDER BY 1;

-- Every function says what it is for.
SELECT p.oid::regprocedure AS without_comment FROM pg_proc p
WHERE p.pronamespace = 'payments'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL ORDER BY 1;

-- The money outlives the code: no DROP without CASCADE.
SELECT regexp_replace(pg_temp.attempt('DROP EXTENSION payments'), ' / .*', '') AS dropped;

