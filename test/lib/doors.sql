-- The doors through which a text comes in, from the catalog: what a role may
-- call, and what it may write to (\ir ../lib/doors.sql).
--
--	door (name, says, statement)
--
-- statement goes through the door with a card number, which stands in it as
-- CARD, and with null for all else: no door may look at anything before it has
-- looked for that.  says: the PY009 of that door; null, where the door is open:
-- then what is behind it masks, and has tests of its own.
CREATE TEMP VIEW door AS
WITH ours (role) AS (
	VALUES ('payments_app'), ('payments_operator'), ('payments_admin'), ('payments_auditor'), ('payments_worker')
), open (name) AS (
	-- What others wrote is masked; what takes a batch refuses a row of it; proofs are stored nowhere.
	VALUES ('receive_webhook.headers'), ('receive_webhook.body'), ('complete.headers'), ('complete.body'), ('complete.error'),
		('import_settlement.content'), ('settlement_text.content'), ('import_settlement.file_name'), ('settlement_staging.line'),
		('post_batch.references'), ('post_batch.descriptions'), ('post_batch.kinds'),
		('verify.heads'), ('verify_proof.proof'), ('verify_proof.head_hash')
), argument AS (
	SELECT p.oid, p.proname, p.prokind, a.n, a.name, a.type::regtype AS type, p.proisstrict
	FROM pg_proc p
	CROSS JOIN LATERAL unnest(p.proargtypes::oid[], p.proargnames[1:p.pronargs]) WITH ORDINALITY a (type, name, n)
	WHERE p.pronamespace = 'payments'::regnamespace
	AND p.proname !~ '^_'
	AND EXISTS (SELECT FROM ours WHERE has_function_privilege(ours.role, p.oid, 'EXECUTE'))
), value (type, text) AS (
	VALUES ('text'::regtype, '''CARD'''), ('name', '''CARD'''), ('jsonb', 'jsonb_build_object(''a'', jsonb_build_array(jsonb_build_object(''b'', ''CARD'')))'), ('text[]', 'ARRAY[NULL, ''CARD'']'),
		('bytea', 'convert_to(''CARD'', ''UTF8'')')
), entered AS (
	SELECT 'function' AS kind, a.proname || '.' || a.name AS name, a.name AS part,
		format(CASE a.prokind WHEN 'p' THEN 'CALL payments.%I(%s)' ELSE 'SELECT payments.%I(%s)' END, a.proname,
			(
				SELECT string_agg(format('%I => %s', o.name,
					CASE WHEN o.n = a.n THEN v.text WHEN o.proisstrict THEN '''1''::' || o.type ELSE 'NULL::' || o.type END), ', ' ORDER BY o.n)
				FROM argument o WHERE o.oid = a.oid
			)) AS statement
	FROM argument a
	JOIN value v USING (type)
	UNION ALL
	SELECT 'column', c.relname || '.' || a.attname, a.attname, format('INSERT INTO payments.%I (%I) VALUES (%s)', c.relname, a.attname, v.text)
	FROM pg_class c
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	JOIN value v ON v.type = a.atttypid
	WHERE c.relnamespace = 'payments'::regnamespace
	AND c.relkind IN ('r', 'p', 'v')
	AND NOT c.relispartition
	AND EXISTS (
		SELECT FROM ours WHERE has_column_privilege(ours.role, c.oid, a.attnum, 'INSERT') OR has_column_privilege(ours.role, c.oid, a.attnum, 'UPDATE')
	)
)
SELECT e.kind, e.name, e.statement,
	CASE WHEN e.name NOT IN (SELECT o.name FROM open o) THEN e.part || ' contains what looks like a card number' END AS says
FROM entered e;
