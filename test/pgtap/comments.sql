-- If this fails, somebody who reads the tables in production (\d+, a report, an
-- audit) has to guess what a column means, in which unit, or who writes it.

\ir ../lib/prelude.sql
BEGIN;
SELECT plan(5);

SELECT is_empty($$
	SELECT c.relname FROM pg_class c
	WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	AND coalesce(obj_description(c.oid, 'pg_class'), '') = '' ORDER BY 1
$$, 'every table and view has a comment');

SELECT is_empty($$
	SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	AND a.attnum > 0 AND NOT a.attisdropped AND NOT c.relispartition
	AND coalesce(col_description(c.oid, a.attnum), '') = '' ORDER BY 1
$$, 'every column has a comment');

SELECT is_empty($$
	SELECT p.oid::regprocedure::text FROM pg_proc p
	WHERE p.pronamespace = 'payments'::regnamespace
	AND coalesce(obj_description(p.oid, 'pg_proc'), '') = '' ORDER BY 1
$$, 'every function has a comment');

SELECT is_empty($$
	SELECT t.typname FROM pg_type t
	WHERE t.typnamespace = 'payments'::regnamespace AND t.typtype IN ('d', 'e', 'r')
	AND coalesce(obj_description(t.oid, 'pg_type'), '') = '' ORDER BY 1
$$, 'every type has a comment');

-- The lists above are not empty because the schema is.
SELECT cmp_ok((SELECT count(*) FROM pg_description d JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
			   WHERE c.relnamespace = 'payments'::regnamespace), '>', 200::bigint, 'there are tables to comment on');

SELECT * FROM finish();
ROLLBACK;
