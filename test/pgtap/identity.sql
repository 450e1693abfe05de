-- If this fails, two databases on one account at a PSP send the same keys: the
-- second order "succeeds" without money, and the one's events and settlement
-- lines settle the other's payments.  Or a retry after a failover that lost our
-- rows sends another key, and charges twice.  Or a PSP is given another account
-- while something is in doubt in the former, and it is charged in both.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

-- ---------- how names and keys are derived: another implementation of the same ----------

CREATE FUNCTION pg_temp.base32(bytes bytea) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(substr('abcdefghijklmnopqrstuvwxyz234567', 1 + (
			SELECT sum(CASE WHEN 5 * n + b < 8 * length(bytes) AND get_byte(bytes, (5 * n + b) / 8) & (128 >> (5 * n + b) % 8) > 0 THEN 16 >> b ELSE 0 END)
			FROM generate_series(0, 4) b)::int, 1), '' ORDER BY n)
	FROM generate_series(0, (8 * length(bytes) + 4) / 5 - 1) n
$$;
SELECT is(pg_temp.base32('foobar'), 'mzxw6ytboi', 'RFC 4648');
-- A typed part with its length in front.
CREATE FUNCTION pg_temp.part(type text, bytes bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT convert_to(type, 'UTF8') || int8send(length(bytes)) || bytes
$$;
CREATE FUNCTION pg_temp.part(t text) RETURNS bytea LANGUAGE sql AS $$ SELECT pg_temp.part('t', convert_to(t, 'UTF8')) $$;
CREATE FUNCTION pg_temp.tag() RETURNS text LANGUAGE sql AS $$
	SELECT left(pg_temp.base32(sha256(pg_temp.part('payments.installation_tag.1') || pg_temp.part('b', s.salt))), 8) FROM payments.installation_salt s
$$;
CREATE FUNCTION pg_temp.ref(merchant text, key text, operation text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.tag() || '_' || left(pg_temp.base32(sha256(
		pg_temp.part('payments.psp_ref.2') || pg_temp.part('b', s.salt) || pg_temp.part(merchant) || pg_temp.part(key) || pg_temp.part(operation))), 43)
	FROM payments.installation_salt s
$$;
CREATE FUNCTION pg_temp.key(ref text, generation bigint) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.base32(sha256(pg_temp.part('payments.psp_key.2') || pg_temp.part('b', s.salt) || pg_temp.part(ref) || pg_temp.part('i', int8send(generation))))
	FROM payments.installation_salt s
$$;

SELECT is(payments.installation_tag(), pg_temp.tag(), 'the tag derives from the salt');
SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.create_psp('twin', 'stripe', secret => 'tap'), payments.arm();
-- Names that would be one another, were they not told apart by their lengths.
SELECT payments.create_merchant(m) FROM unnest(ARRAY['a', 'ab', 'a1', 'b']) m;
CREATE TEMP TABLE made AS
SELECT m.merchant, m.key, p.payment_id
FROM (VALUES ('a', 'bc'), ('ab', 'c'), ('a', '1k'), ('a1', 'k'), ('b', 'bc'), ('default', 'charge'), ('default', 'chargecharge'), ('default', 'authorize')) m (merchant, key),
	LATERAL payments.create_payment(m.key, 1000, 'EUR', merchant => m.merchant, psp => 'tap', payment_method => 'pm_card_visa', capture => CASE m.key WHEN 'authorize' THEN 'manual' ELSE 'automatic' END) p;
SELECT results_eq('SELECT o.psp_ref FROM made m JOIN payments.operation o USING (payment_id) ORDER BY o.operation_id',
	'SELECT pg_temp.ref(m.merchant, m.key, o.kind) FROM made m JOIN payments.operation o USING (payment_id) ORDER BY o.operation_id', 'references derive from salt, merchant, key and kind');
SELECT is(count(DISTINCT psp_ref), count(*), 'and differ') FROM payments.operation;
CREATE TEMP TABLE sent AS SELECT * FROM payments.claim('tap', psp => 'tap', max => 100);
SELECT results_eq('SELECT s.psp_key FROM sent s JOIN payments.operation o USING (operation_id) ORDER BY o.operation_id', 'SELECT pg_temp.key(psp_ref, 1) FROM payments.operation ORDER BY operation_id',
	'keys derive from salt, reference and generation');
SELECT isnt(pg_temp.key('r', 1), pg_temp.key('r', 2), 'each generation has its own');
SELECT is(count(DISTINCT k), count(*), 'no key is another''s') FROM (SELECT psp_key AS k FROM sent UNION ALL SELECT psp_ref FROM payments.operation) x;
SELECT throws_ok($$SELECT payments.create_payment('charge', 1000, 'EUR', psp => 'twin', payment_method => 'pm_card_visa')$$, 'PY102', NULL,
	'a key that was used at one PSP is not used at another, which may be the same account');

-- Two captures and two refunds of one payment, each under its own key.
CREATE FUNCTION pg_temp.intent(id text, status text, amount int) RETURNS bytea LANGUAGE sql AS $$
	SELECT convert_to(json_build_object('id', id, 'object', 'payment_intent', 'amount', amount, 'amount_received', CASE status WHEN 'succeeded' THEN amount ELSE 0 END,
		'amount_capturable', CASE status WHEN 'requires_capture' THEN amount ELSE 0 END, 'currency', 'eur', 'status', status)::text, 'UTF8')
$$;
SELECT payments.complete(s.operation_id, s.attempt, 200, '{}', pg_temp.intent('pi_' || m.key, CASE m.key WHEN 'authorize' THEN 'requires_capture' ELSE 'succeeded' END, 1000))
FROM sent s JOIN payments.operation o USING (operation_id) JOIN made m USING (payment_id) WHERE m.key IN ('charge', 'authorize') \g /dev/null
SELECT payment_id AS charged FROM made WHERE key = 'charge' \gset
SELECT payments.refund_payment(:'charged', 'refund-1', amount => 300), payments.refund_payment(:'charged', 'refund-2', amount => 300) \g /dev/null
SELECT is(count(DISTINCT psp_ref), 2::bigint, 'two refunds have two references') FROM payments.operation WHERE payment_id = :'charged' AND kind = 'refund';

-- ---------- the salt ----------

SELECT throws_ok($$UPDATE payments.installation_salt SET salt = sha256('guessed')$$, 'PY003', NULL, 'it does not change');
SELECT throws_ok('DELETE FROM payments.installation_salt', 'PY003', NULL, 'nor go, once anything derives from it');
SELECT throws_ok('TRUNCATE payments.installation_salt', 'PY003', NULL, 'in no way');
SELECT throws_ok($$INSERT INTO payments.installation_salt (salt) VALUES (sha256('second'))$$, '23505', NULL, 'nor is there another');
SELECT payments.setup();
SELECT is(payments.installation_tag(), pg_temp.tag(), 'setup() leaves it');
SELECT is_empty($$SELECT r FROM unnest(ARRAY['payments_app', 'payments_operator', 'payments_admin', 'payments_auditor', 'payments_worker']) r WHERE has_any_column_privilege(r, 'payments.installation_salt', 'SELECT')$$,
	'nobody reads it');
SELECT is_empty($$SELECT FROM payments._tables() t WHERE t.name = 'installation_salt' AND t.seal_key IS NOT NULL$$, 'no proof shows it');

-- ---------- whose it is ----------

SELECT is(payments._is_foreign(r), f, format('%s is %s', what, CASE WHEN f THEN 'foreign' ELSE 'not foreign' END))
FROM (VALUES
	('ours', pg_temp.ref('a', 'b', 'charge'), false),
	('another installation''s', translate(left(pg_temp.tag(), 1), 'abcdefghijklmnopqrstuvwxyz234567', 'bcdefghijklmnopqrstuvwxyz234567a') || substr(pg_temp.ref('a', 'b', 'charge'), 2), true),
	('an order''s number', 'order-42', false), ('nothing', '', false),
	('a digest in base32', rpad('', 52, 'a'), false),
	('what is too long', 'aaaaaaaa_' || rpad('', 44, 'a'), false), ('too short', 'aaaaaaaa_' || rpad('', 42, 'a'), false), ('in capitals', 'AAAAAAAA_' || rpad('', 43, 'a'), false)) v (what, r, f);

-- ---------- settlement lines of another installation ----------

CREATE FUNCTION pg_temp.balance(code text) RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(sum(b.balance), 0)::bigint FROM payments.account a, payments.balance(a.account_id) b WHERE a.code = $1
$$;
CREATE FUNCTION pg_temp.file(lines text) RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement('tap', 'csv', E'kind,entry_id,psp_object_id,psp_payment_id,reference,gross,fee,currency,occurred_at,payout_ref\n' || $1)
$$;
SELECT 'aaaaaaaa_' || rpad('', 43, 'a') AS theirs, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS t \gset
SELECT pg_temp.file(format(E'charge,txn_1,ch_1,pi_charge,,10.00,0.40,EUR,%1$s,po_1\ncharge,txn_2,ch_2,pi_theirs,%2$s,50.00,1.00,EUR,%1$s,po_1\nrefund,txn_3,re_3,pi_theirs,%2$s,-20.00,0,EUR,%1$s,po_1\n'
	'charge,txn_4,ch_4,pi_chargecharge,%2$s,10.00,0.40,EUR,%1$s,po_1\npayout,txn_p,tr_1,,,-48.20,0,EUR,%1$s,po_1\n', :'t', :'theirs')) \g /dev/null
SELECT results_eq('SELECT entry_id, kind, type FROM payments.settlement_line ORDER BY line_no', $$VALUES ('txn_1', 'charge', 'charge'), ('txn_2', 'foreign', 'charge'), ('txn_3', 'foreign', 'refund'),
	('txn_4', 'foreign', 'charge'), ('txn_p', 'payout', 'payout')$$, 'lines that carry another tag are kept as foreign');
SELECT results_eq($$SELECT lines, matched, still_open FROM payments.reconcile('tap')$$, 'VALUES (5::bigint, 1::bigint, 0::bigint)', 'they are compared with nothing, and no discrepancy');
SELECT is(pg_temp.balance('psp_foreign:tap'), 4900 - 2000 + 960::bigint, 'what they make is owed to whose it is');
SELECT is(pg_temp.balance('psp_receivable:tap'), 0::bigint, 'so the payout leaves nothing at the PSP');
SELECT is(totals #> '{EUR,kinds,foreign}', '[3, 3860]', 'and the run counts them') FROM payments.reconciliation_run ORDER BY run_id DESC LIMIT 1;
-- Of the same payment, later, by lines without a reference; and what we know by the PSP's id is ours, whoever asked for it.
SELECT pg_temp.file(format(E'chargeback,txn_5,dp_5,pi_theirs,,-50.00,15.00,EUR,%1$s,\nrefund,txn_6,re_6,pi_charge,%2$s,-1.00,0,EUR,%1$s,\nchargeback,txn_7,dp_7,pi_nobody,,-7.00,0,EUR,%1$s,\n', :'t', :'theirs')) \g /dev/null
SELECT results_eq($$SELECT entry_id, kind FROM payments.settlement_line WHERE entry_id IN ('txn_5', 'txn_6', 'txn_7') ORDER BY line_no$$, $$VALUES ('txn_5', 'foreign'), ('txn_6', 'refund'), ('txn_7', 'chargeback')$$,
	'a dispute follows its payment; a refund of ours that they made is a refund of ours');
SELECT lives_ok($$SELECT payments.reconcile('tap')$$, 'compared');
SELECT is((SELECT refunded FROM payments.payment WHERE payment_id = :'charged'), 100::bigint, 'and booked');
SELECT is((SELECT string_agg(kind || ' ' || object_id, ', ') FROM payments.discrepancy WHERE status = 'open' AND kind = 'missing_here'), 'missing_here dp_7', 'what nobody has marked is still for a person');

-- ---------- another address, secret or account ----------

SELECT is((SELECT count(*)::int FROM payments.queue q JOIN payments.operation o USING (operation_id) WHERE q.psp = 'tap' AND o.key_used_at IS NOT NULL) > 0, true, 'some are under way');
CREATE FUNCTION pg_temp.refused(sql text, what text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT throws_ok(sql, 'PY409', NULL, what) $$;
SELECT pg_temp.refused($$SELECT payments.create_psp('tap', 'stripe', 'https://stripe.example', 'tap')$$, 'another address is refused');
SELECT pg_temp.refused($$SELECT payments.create_psp('tap', 'stripe', secret => 'other')$$, 'another secret');
SELECT pg_temp.refused($$UPDATE payments.psp SET config = '{"account": "of the adapter"}' WHERE psp = 'tap'$$, 'what an adapter might read of config');
SELECT pg_temp.refused($$UPDATE payments.psp SET base_url = 'https://stripe.example' WHERE psp = 'tap'$$, 'also when written by hand');
SELECT pg_temp.refused($$UPDATE payments.psp SET secret = 'other'$$, 'for all at once');
SELECT pg_temp.refused($$UPDATE payments.psp SET adapter = 'sandbox' WHERE psp = 'tap'$$, 'or for another adapter');
SELECT pg_temp.refused($$SELECT payments.accept_psp_account('tap')$$, 'and another account');
SELECT pg_temp.refused($$DELETE FROM payments.psp WHERE psp = 'tap'$$, 'nor is it deleted');
SELECT throws_like($$SELECT payments.create_psp('tap', 'stripe', secret => 'other')$$, 'PSP "tap" has 8 open operations that it may have performed', 'the refusal says how many');
SELECT lives_ok($$SELECT payments.create_psp('tap', 'stripe', 'https://api.stripe.com', 'tap', '{"feeds": {"interval_s": 30}, "merchant": "a"}')$$, 'what stays the same, feeds and the merchant may change');
SET ROLE payments_admin;
SELECT lives_ok($$UPDATE payments.psp SET timeout = '5 s', inflight_max = 7 WHERE psp = 'tap'$$, 'and so may limits, which are an administrator''s');
SELECT throws_ok($$UPDATE payments.psp SET halted_at = NULL WHERE psp = 'tap'$$, '42501', NULL, 'who writes nothing else of it');
RESET ROLE;
SELECT lives_ok($$SELECT payments.create_psp('twin', 'stripe', 'https://stripe.example', 'other')$$, 'a PSP that nothing is open at may move');
SELECT payments.create_payment('unsent', 1000, 'EUR', psp => 'twin', payment_method => 'pm_card_visa') \g /dev/null
SELECT lives_ok($$SELECT payments.create_psp('twin', 'stripe', 'https://two.example', 'other')$$, 'what was never sent is nowhere');
SELECT lives_ok($$SELECT * FROM payments.claim('tap', psp => 'twin')$$, 'once it is claimed');
SELECT pg_temp.refused($$SELECT payments.create_psp('twin', 'stripe', 'https://three.example', 'other')$$, 'it may be there');
UPDATE payments.psp SET account_id = 'acct_1', account_mode = 'live' WHERE psp = 'twin';
SELECT lives_ok($$SELECT payments.create_psp('twin', 'stripe', 'https://three.example', 'other', force => true)$$, 'by force it moves');
SELECT results_eq($$SELECT base_url, account_id, account_mode FROM payments.psp WHERE psp = 'twin'$$, $$VALUES ('https://three.example', NULL::text, NULL::text)$$, 'and the account is to be told anew');
SELECT pg_temp.refused($$UPDATE payments.psp SET secret = 'third' WHERE psp = 'twin'$$, 'force was for that one call');
-- What is left out stays: else a call for another secret would send what was meant for a test server to the PSP.
SELECT lives_ok($$SELECT payments.create_psp('twin', 'stripe')$$, 'naught is asked for, so naught changes, whatever is open');
-- Where a secret goes is for a superuser to say, who writes the configuration.
SELECT throws_ok($$SELECT payments.create_psp('away', 'stripe', 'https://away.example', 'stripe')$$, 'PY404', 'no secret is sent to host "away.example": payments.psp_hosts does not name it', 'a secret goes to no host of anybody''s');
SELECT throws_ok($$SELECT payments.create_psp('away', 'stripe', secret => 'stripe.webhook')$$, 'PY404', 'its secret is one that signs webhooks, and is never sent', 'what signs goes nowhere');
SELECT throws_ok($$SELECT payments.create_psp('away', 'stripe', secret => 'stripe.WebHook')$$, 'PY404', NULL, 'however it is written');
SELECT lives_ok($$SELECT payments.create_psp('away', 'stripe', 'https://away.example')$$, 'without a secret there is nothing to send');
SELECT throws_ok($$SELECT payments.create_psp('away', 'stripe', secret => 'stripe')$$, 'PY404', NULL, 'until there is one');
SELECT lives_ok($$SELECT payments.create_psp('away', 'stripe', 'https://API.stripe.com', 'stripe')$$, 'the adapter''s own host is the PSP''s');
SELECT lives_ok($$SELECT payments.create_psp('kept', 'stripe', 'https://stripe.example', 'kept', '{"merchant": "a"}')$$, 'one with everything');
SELECT lives_ok($$SELECT payments.create_psp('kept', 'stripe', secret => 'second')$$, 'gets another secret');
SELECT results_eq($$SELECT base_url, secret, config::text FROM payments.psp WHERE psp = 'kept'$$, $$VALUES ('https://stripe.example', 'second', '{"merchant": "a"}')$$, 'and keeps address and config');
SELECT lives_ok($$SELECT payments.create_psp('kept', 'stripe', 'https://two.example', config => '{}')$$, 'another address; an empty config is none');
SELECT results_eq($$SELECT base_url, secret, config::text FROM payments.psp WHERE psp = 'kept'$$, $$VALUES ('https://two.example', 'second', '{"merchant": "a"}')$$, 'and keeps secret and config');
SELECT lives_ok($$SELECT payments.create_psp('kept', 'stripe', config => '{"feeds": {}}')$$, 'a config replaces the whole config');
SELECT results_eq($$SELECT base_url, secret, config::text FROM payments.psp WHERE psp = 'kept'$$, $$VALUES ('https://two.example', 'second', '{"feeds": {}}')$$, 'and keeps address and secret');
SELECT throws_ok($$SELECT payments.accept_psp_account('nowhere')$$, 'PY401', NULL, 'of no PSP there is no account');

SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() holds');
SELECT * FROM finish();
ROLLBACK;
