-- If this fails, a role may do more or less than the table below says, which is
-- the one to look at: who may call, read or write what, made from the catalog.
-- Then all of it is tried, by a member of each role, and by one of none.

\set VERBOSITY terse
\pset null ''
CREATE ROLE rights_app IN ROLE payments_app;
CREATE ROLE rights_operator IN ROLE payments_operator;
CREATE ROLE rights_admin IN ROLE payments_admin;
CREATE ROLE rights_auditor IN ROLE payments_auditor;
CREATE ROLE rights_nobody;
CREATE TEMP TABLE who AS
SELECT * FROM (VALUES (1, 'app', 'rights_app'), (2, 'operator', 'rights_operator'), (3, 'admin', 'rights_admin'), (4, 'auditor', 'rights_auditor'), (5, 'worker', 'payments_worker'), (6, 'nobody', 'rights_nobody')) w (n, who, role);

-- ---------- functions

CREATE TEMP TABLE call AS
SELECT p.oid, p.proname AS function, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS signature, w.n, w.who, w.role, has_function_privilege(w.role, p.oid, 'EXECUTE') AS may
FROM pg_proc p CROSS JOIN who w
WHERE p.pronamespace = 'payments'::regnamespace;

SELECT CASE WHEN c.function ~ '^_' THEN 'internal' ELSE '' END AS kind, c.function,
	max(CASE WHEN c.who = 'app' AND c.may THEN 'x' END) AS app, max(CASE WHEN c.who = 'operator' AND c.may THEN 'x' END) AS operator, max(CASE WHEN c.who = 'admin' AND c.may THEN 'x' END) AS admin,
	max(CASE WHEN c.who = 'auditor' AND c.may THEN 'x' END) AS auditor, max(CASE WHEN c.who = 'worker' AND c.may THEN 'x' END) AS worker
FROM call c
GROUP BY c.oid, c.function HAVING bool_or(c.may) ORDER BY 1, c.function COLLATE "C", min(c.signature) COLLATE "C";

-- What nobody may call is internal, or a trigger.
SELECT DISTINCT c.signature FROM call c JOIN pg_proc p ON p.oid = c.oid
WHERE c.function !~ '^_' AND p.prorettype <> 'trigger'::regtype
AND NOT EXISTS (SELECT FROM call x WHERE x.oid = c.oid AND x.may);
-- And what anybody may, PUBLIC may.
SELECT c.signature FROM call c WHERE c.who = 'nobody' AND c.may;

-- ---------- tables and views

-- Partitions and what was retired are tables of their table.
CREATE TEMP TABLE relation AS
SELECT c.oid, c.relname AS name, c.relkind, t.merchant_by IS NOT NULL AND c.relrowsecurity AS by_merchant,
	coalesce((SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND has_column_privilege('payments_admin', c.oid, a.attname, 'UPDATE') ORDER BY a.attnum LIMIT 1),
		(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = 1)) AS of_column
FROM pg_class c LEFT JOIN payments._tables() t ON t.name = c.relname
WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND c.relname !~ '^retired_';
CREATE TEMP TABLE touch AS
SELECT r.*, w.n, w.who, w.role, v.privilege, v.letter,
	CASE WHEN v.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') THEN has_any_column_privilege(w.role, r.oid, v.privilege) ELSE has_table_privilege(w.role, r.oid, v.privilege) END AS may,
	CASE WHEN v.privilege IN ('INSERT', 'UPDATE', 'REFERENCES') AND NOT has_table_privilege(w.role, r.oid, v.privilege) THEN
		(SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0 AND has_column_privilege(w.role, r.oid, a.attname, v.privilege)) END AS columns
FROM relation r CROSS JOIN who w
CROSS JOIN (VALUES ('SELECT', 'read'), ('INSERT', 'insert'), ('UPDATE', 'update'), ('DELETE', 'delete'), ('TRUNCATE', 'truncate'), ('REFERENCES', 'reference'), ('TRIGGER', 'trigger')) v (privilege, letter);
CREATE FUNCTION pg_temp.cell(_name text, _who text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(t.letter || coalesce(' (' || t.columns || ')', '') || CASE WHEN t.privilege = 'SELECT' AND t.by_merchant AND _who = 'app' THEN ' own' ELSE '' END, ', '
		ORDER BY array_position(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'], t.privilege))
	FROM touch t WHERE t.name = _name AND t.who = _who AND t.may
$$;
SELECT CASE r.relkind WHEN 'v' THEN 'view' ELSE 'table' END AS kind, r.name, pg_temp.cell(r.name, 'app') AS app, pg_temp.cell(r.name, 'operator') AS operator,
	pg_temp.cell(r.name, 'admin') AS admin, pg_temp.cell(r.name, 'auditor') AS auditor, pg_temp.cell(r.name, 'worker') AS worker
FROM relation r ORDER BY 1, r.name COLLATE "C";
SELECT t.name, t.privilege FROM touch t WHERE t.who = 'nobody' AND t.may;
-- Partitions are read through their table, whose policies hold then; sequences are the functions' own.
SELECT c.relkind, count(*) > 0 AS there_are, count(*) FILTER (WHERE has_table_privilege(w.role, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')) AS may
FROM pg_class c CROSS JOIN who w WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'r' AND c.relispartition GROUP BY 1
UNION ALL
SELECT c.relkind, count(*) > 0, count(*) FILTER (WHERE has_sequence_privilege(w.role, c.oid, 'USAGE, SELECT, UPDATE'))
FROM pg_class c CROSS JOIN who w WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'S' GROUP BY 1 ORDER BY 1;
-- Nobody makes anything in the schema, or becomes one of the extension's own.
SELECT w.who, has_schema_privilege(w.role, 'payments', 'USAGE') AS sees, has_schema_privilege(w.role, 'payments', 'CREATE') AS makes,
	pg_has_role(w.role, 'payments_owner', 'MEMBER') AS is_owner FROM who w ORDER BY w.n;

-- ---------- types, and what is no part of the extension

-- Whoever has a column of a row type keeps the table as it is.
SELECT c.relkind, count(*) > 0 AS there_are, count(*) FILTER (WHERE has_type_privilege(w.role, t.oid, 'USAGE')) AS may
FROM pg_class c JOIN pg_type t ON t.oid IN (c.reltype, (SELECT y.typarray FROM pg_type y WHERE y.oid = c.reltype)) CROSS JOIN who w
WHERE c.relnamespace = 'payments'::regnamespace GROUP BY 1 ORDER BY 1;
-- A function of others could be called in place of ours.
SELECT p.oid::regprocedure AS no_member FROM pg_proc p
WHERE p.pronamespace = 'payments'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid WHERE d.objid = p.oid AND d.deptype = 'e' AND x.extname = 'payments');
SELECT t.typname AS no_row_type FROM pg_type t WHERE t.typnamespace = 'payments'::regnamespace AND t.typrelid = 0 AND t.typelem = 0;
-- Nobody but these, either, has anything: not even a role that the extension does not know of.
SELECT o.line FROM payments._grants_of_others() o;

-- ---------- all of it is tried

-- Refused by the server itself, by name of what it is; what a function says when it runs is another matter.
CREATE FUNCTION pg_temp.refused(_role text, _statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', _role, true);
	EXECUTE _statement;
	RAISE EXCEPTION 'undone' USING ERRCODE = 'TAP00';
EXCEPTION WHEN insufficient_privilege THEN
	RETURN sqlerrm ~ '^permission denied for (function|procedure|table|view|schema|sequence|language|type) ';
WHEN OTHERS THEN
	RETURN false;
END
$$;

-- With nothing but nulls, of which the planner does not know, or it would not call
-- what is strict: what is asked here is who may call.  What takes none and
-- starts processes or writes files is called by those only who may not.
CREATE TEMP TABLE tried AS
SELECT c.who, c.signature AS what, c.may, pg_temp.refused(c.role, format('%s payments.%I(%s)', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, p.proname,
	(SELECT string_agg(format(CASE p.prokind WHEN 'p' THEN 'NULL::%s' ELSE '(SELECT NULL::%s)' END, format_type(a.type, NULL)), ', ' ORDER BY a.n) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a (type, n)))) AS refused
FROM call c JOIN pg_proc p ON p.oid = c.oid
WHERE NOT (c.may AND c.function IN ('start_worker', 'stop_worker', 'arm', 'disarm'))
AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[] || p.prorettype) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p' AND t.typname NOT IN ('record', 'void', 'trigger'));
INSERT INTO tried
SELECT t.who, t.privilege || ' ' || t.name, t.may, pg_temp.refused(t.role, format(CASE t.privilege
	WHEN 'SELECT' THEN 'SELECT FROM payments.%1$I LIMIT 1'
	WHEN 'INSERT' THEN 'INSERT INTO payments.%1$I DEFAULT VALUES'
	WHEN 'UPDATE' THEN 'UPDATE payments.%1$I SET %2$I = DEFAULT WHERE false'
	WHEN 'DELETE' THEN 'DELETE FROM payments.%1$I WHERE false'
	WHEN 'TRUNCATE' THEN 'TRUNCATE payments.%1$I' END, t.name, t.of_column))
FROM touch t WHERE t.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
-- The server looks at what a view is before it looks at who writes into it.
AND (t.relkind <> 'v' OR t.privilege = 'SELECT')
-- May some columns of it be read, the others may not.
AND (t.privilege <> 'SELECT' OR NOT t.may OR has_table_privilege(t.role, t.oid, 'SELECT'));

-- A verb acts as payments_owner.
GRANT CREATE ON SCHEMA public TO PUBLIC;
INSERT INTO tried
SELECT w.who, 'a verb', false, pg_temp.refused(w.role, $$CREATE FUNCTION public.verb() RETURNS void LANGUAGE payments AS 'BEGIN END'$$) FROM who w;
-- These keep a table as it is, or locked, or run as its owner.
INSERT INTO tried
SELECT w.who, s.what, false, pg_temp.refused(w.role, s.what) FROM who w CROSS JOIN (VALUES
	('CREATE TABLE public.kept (x payments.event)'), ('CREATE TABLE public.kept (x payments.worker_status[])'), ('CREATE DOMAIN public.kept AS payments.job'),
	('CREATE FUNCTION public.kept(payments.payment) RETURNS int LANGUAGE sql RETURN 1'), ('CREATE FUNCTION payments.kept() RETURNS int LANGUAGE sql RETURN 1'),
	('CREATE TABLE public.kept (x uuid REFERENCES payments.payment)'), ('CREATE TABLE public.kept (x uuid REFERENCES payments.operation)')) s (what);
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

SELECT t.who, t.what, t.may, t.refused FROM tried t WHERE t.may = t.refused ORDER BY 1, 2;
SELECT t.who, count(*) > 500 AS tried, count(*) FILTER (WHERE t.may) > 0 AS some_may FROM tried t JOIN who w ON w.who = t.who GROUP BY t.who, w.n ORDER BY w.n;

DROP ROLE rights_app, rights_operator, rights_admin, rights_auditor, rights_nobody;
