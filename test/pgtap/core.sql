-- If this fails, a name or a parameter that clients rely on has changed: their
-- calls with named arguments break at the next upgrade.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT has_schema('payments');
SELECT has_table('payments', t, 'table ' || t)
FROM unnest(ARRAY['merchant', 'psp', 'payment', 'operation', 'payment_status', 'attempt', 'attempt_answer', 'queue', 'dead_letter',
	'movement', 'idempotency_key', 'event', 'psp_event', 'exception', 'account', 'posting', 'installation',
	'currency', 'psp_currency', 'transition', 'decline_rule', 'retry_schedule', 'account_template', 'posting_rule']) t;
SELECT has_view('payments', v, 'view ' || v) FROM unnest(ARRAY['stuck', 'worker_status', 'trial_balance']) v;
SELECT has_role(r) FROM unnest(ARRAY['payments_owner', 'payments_app', 'payments_operator', 'payments_admin', 'payments_auditor', 'payments_worker']) r;

-- Names, order, types and defaults as design.md section 4 fixes them.
CREATE TEMP TABLE fixed (name text, arguments text, result text);
INSERT INTO fixed VALUES
('setup', '', 'void'),
('migrate', '', 'void'),
('check', '', 'TABLE(invariant text, ok boolean, violations bigint, sample text)'),
('version', '', 'text'),
('start_worker', '', 'integer'),
('stop_worker', '', 'void'),
('arm', '', 'void'),
('disarm', '', 'void'),
('create_merchant', 'merchant text, app_role name DEFAULT NULL::name, psp text DEFAULT NULL::text', 'void'),
('create_psp', 'psp text, adapter text, base_url text DEFAULT NULL::text, secret text DEFAULT NULL::text, config jsonb DEFAULT ''{}''::jsonb', 'void'),
('create_payment', 'idempotency_key text, amount bigint, currency text, merchant text DEFAULT ''default''::text, payment_method text DEFAULT NULL::text, capture text DEFAULT ''automatic''::text, order_ref text DEFAULT NULL::text, customer text DEFAULT NULL::text, psp text DEFAULT NULL::text, return_url text DEFAULT NULL::text, description text DEFAULT NULL::text, metadata jsonb DEFAULT ''{}''::jsonb', 'payment_id uuid, status text, replayed boolean'),
('capture_payment', 'payment_id uuid, idempotency_key text, amount bigint DEFAULT NULL::bigint', 'operation_id uuid, status text, replayed boolean'),
('refund_payment', 'payment_id uuid, idempotency_key text, amount bigint DEFAULT NULL::bigint, reason text DEFAULT NULL::text', 'operation_id uuid, status text, replayed boolean'),
('cancel_payment', 'payment_id uuid, idempotency_key text, reason text DEFAULT NULL::text', 'operation_id uuid, status text, replayed boolean'),
('get_payment', 'payment_id uuid', NULL),
('payment_history', 'payment_id uuid', NULL),
('wait_payment', 'payment_id uuid, timeout interval DEFAULT ''00:00:30''::interval', 'text'),
('create_account', 'code text, currency text, type text, merchant text DEFAULT ''default''::text, hot boolean DEFAULT false, min_balance bigint DEFAULT NULL::bigint, max_balance bigint DEFAULT NULL::bigint', 'bigint'),
('post', 'debit bigint, credit bigint, amount bigint', 'bigint'),
('post_batch', 'debits bigint[], credits bigint[], amounts bigint[]', 'TABLE(index integer, posting_id bigint, error text, amount bigint)'),
('balance', 'account bigint', 'TABLE(debits bigint, credits bigint, held_debits bigint, held_credits bigint, balance bigint)'),
('balance_at', 'account bigint, at timestamp with time zone', 'bigint'),
('statement', 'account bigint, from_time timestamp with time zone, to_time timestamp with time zone', NULL),
('redrive', 'dead_letter_id uuid, resend boolean DEFAULT false, reason text DEFAULT NULL::text', 'void'),
('discard', 'dead_letter_id uuid, reason text', 'void'),
('claim', 'worker text, max integer DEFAULT 100, lease interval DEFAULT ''00:05:00''::interval, psp text DEFAULT ''sandbox''::text', NULL),
('complete', 'operation_id uuid, attempt integer', 'text'),
('receive_webhook', 'psp text, headers jsonb, body bytea', 'event_id text, duplicate boolean, payment_id uuid, status text, reply text');

-- Parameters without the OUT ones; more may follow those that are fixed.
CREATE TEMP VIEW actual AS
SELECT p.oid, p.proname::text AS name,
	regexp_replace(pg_get_function_arguments(p.oid), '(^|, )OUT .*$', '') AS arguments,
	coalesce(nullif(pg_get_function_result(p.oid), 'record'),
		(SELECT string_agg(a.name || ' ' || format_type(a.type, NULL), ', ' ORDER BY a.n)
		 FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes) WITH ORDINALITY a (name, type, mode, n) WHERE a.mode = 'o')) AS result
FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace;

SELECT is((SELECT count(*)::int FROM actual a WHERE a.name = f.name), 1, f.name || '() is there, once') FROM fixed f;
SELECT ok(a.arguments = f.arguments OR starts_with(a.arguments, f.arguments || ', '), f.name || '() has its parameters, and others only after them')
FROM fixed f JOIN actual a USING (name);
SELECT is(a.result, f.result, f.name || '() returns what it says') FROM fixed f JOIN actual a USING (name) WHERE f.result IS NOT NULL;
SELECT ok(obj_description(a.oid, 'pg_proc') IS NOT NULL, f.name || '() says what it is for') FROM fixed f JOIN actual a USING (name);

-- Types of our own in a signature could not be called through a pooler's or driver's cached plans after an upgrade.
-- Nobody but functions of ours calls internal ones, and these are made with them.
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc p, unnest(p.proargtypes::oid[] || coalesce(p.proallargtypes, '{}') || p.prorettype) t
	JOIN pg_type y ON y.oid = t WHERE p.pronamespace = 'payments'::regnamespace AND p.proname !~ '^_' AND y.typnamespace NOT IN ('pg_catalog'::regnamespace)
$$, 'functions take and return built-in types only');

SELECT columns_are('payments', 'worker_status', ARRAY['running', 'pid', 'enabled', 'armed', 'hint', 'queued', 'due', 'in_flight', 'dead_letters', 'oldest_due', 'slowed', 'unguarded']);
SELECT columns_are('payments', 'stuck', ARRAY['payment_id', 'operation_id', 'status', 'operation', 'why', 'age', 'amount', 'currency', 'merchant', 'psp', 'order_ref']);
SELECT set_has('SELECT status FROM (VALUES (''initiated''), (''processing''), (''requires_action''), (''authorized''), (''awaiting_retry''), (''in_doubt''), (''succeeded''), (''failed''), (''cancelled''), (''expired''), (''partially_refunded''), (''refunded''), (''disputed'')) s (status)',
	'SELECT DISTINCT to_status FROM payments.transition', 'statuses have the names of the field');
SELECT bag_eq('SELECT DISTINCT to_status FROM payments.transition',
	$$VALUES ('initiated'), ('processing'), ('requires_action'), ('authorized'), ('awaiting_retry'), ('in_doubt'), ('succeeded'), ('failed'), ('cancelled'), ('expired'), ('partially_refunded'), ('refunded'), ('disputed')$$, 'and there are no others');

-- Amounts are bigint, everywhere.
SELECT is_empty($$
	SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
	AND a.attname IN ('amount', 'authorized', 'captured', 'capture_pending', 'refunded', 'refund_pending', 'disputed', 'debits', 'credits', 'held_debits', 'held_credits', 'min_balance', 'max_balance')
	AND a.atttypid <> 'bigint'::regtype
	-- Of each currency.
	AND NOT (c.relname = 'period_close' AND a.atttypid = 'jsonb'::regtype)
	-- What a whole month came to.
	AND NOT (c.relname = 'posting_retired' AND a.atttypid = 'numeric'::regtype)
$$, 'amounts are bigint');
SELECT is_empty($$
	SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	WHERE c.relnamespace = 'payments'::regnamespace AND a.attnum > 0 AND a.atttypid IN ('real'::regtype, 'double precision'::regtype, 'money'::regtype)
$$, 'nothing is kept in floating point');

-- Of rules pg_dump keeps those that we do not ship: so a row is somebody's own unless it says otherwise, and all that we ship say so.
CREATE TEMP TABLE rule_tables AS
SELECT a.attrelid::regclass AS name, pg_get_expr(d.adbin, d.adrelid) AS by_default
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'r' AND a.attname = 'builtin';
SELECT ok(count(*) > 8, 'there are tables of rules') FROM rule_tables;
SELECT is(by_default, 'false', name || ': a row is somebody''s own') FROM rule_tables;
SELECT is(xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s WHERE NOT builtin', name), false, true, ''))::text, '{0}', name || ': what is shipped says so') FROM rule_tables;
INSERT INTO payments.currency (currency, exponent, name) VALUES ('ZZZ', 2, 'of ours');
SELECT is((SELECT builtin FROM payments.currency WHERE currency = 'ZZZ'), false, 'as whoever inserts one sees');

-- What setup() has made is the same, however a session has things written.
SET LOCAL timezone = 'Asia/Tokyo';
SET LOCAL datestyle = 'German';
SET LOCAL intervalstyle = 'sql_standard';
SET LOCAL quote_all_identifiers = on;
SET LOCAL bytea_output = 'escape';
SELECT is_empty('SELECT line FROM payments._setup_differs()', 'however definitions are written');

SELECT * FROM finish();
ROLLBACK;
