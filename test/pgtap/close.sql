-- If this fails, a controller signs sums that are not those of the postings, a
-- closed period changes behind his back, or a merchant reads another's books.
-- Transactions that commit late are in specs/close.spec, retired months and the
-- monthly job in t/close.pl.

\ir ../lib/prelude.sql
SET client_min_messages = error;
SELECT no_plan();

CREATE ROLE close_admin IN ROLE payments_admin;
CREATE ROLE close_shop IN ROLE payments_app;
CREATE ROLE close_other IN ROLE payments_app;
CREATE ROLE close_auditor IN ROLE payments_auditor;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
SELECT payments.create_merchant('shop', app_role => 'close_shop');
SELECT payments.create_merchant('other', app_role => 'close_other');
SELECT payments.create_merchant('idle');
SELECT payments.create_account('bank', 'EUR', 'asset', merchant => 'shop') AS bank, payments.create_account('sales', 'EUR', 'income', merchant => 'shop', hot => true) AS sales,
	payments.create_account('fees', 'EUR', 'expense', merchant => 'shop') AS fees, payments.create_account('owed', 'EUR', 'liability', merchant => 'shop') AS owed,
	payments.create_account('card_clearing', 'EUR', 'asset', merchant => 'shop') AS clearing, payments.create_account('never used', 'EUR', 'asset', merchant => 'shop') AS unused,
	payments.create_account('yen', 'JPY', 'asset', merchant => 'shop') AS yen, payments.create_account('capital', 'JPY', 'equity', merchant => 'shop') AS capital,
	payments.create_account('theirs', 'EUR', 'asset', merchant => 'other') AS theirs, payments.create_account('their sales', 'EUR', 'income', merchant => 'other') AS their_sales \gset

-- What may be closed.
SELECT throws_ok($$SELECT payments.close_period(NULL)$$, '22023', NULL, 'a period ends some time');
SELECT throws_ok($$SELECT payments.close_period(now() + interval '1 minute')$$, '22023', NULL, 'and is over');
SELECT throws_ok($$SELECT payments.close_period('-infinity')$$, '22023', NULL, 'and is one');
SELECT throws_ok($$SELECT payments.close_period(now(), 'nobody')$$, 'PY010', NULL, 'a merchant is known');
SELECT throws_ok($$SELECT payments.verify_close('shop')$$, 'PY632', 'merchant "shop" has no close', 'there is none yet');
SELECT throws_ok($$SELECT payments.close_report('shop', 7)$$, 'PY632', 'merchant "shop" has no close 7', 'nor a seventh');
SELECT throws_ok($$SELECT payments.close_lines('nobody')$$, 'PY632', NULL, 'of nobody');
SELECT is((SELECT bool_and(ok) FROM payments.check()), true, 'check() is clean without any');

-- The first one.
SELECT payments.post(:bank, :sales, 10000), payments.post(:fees, :bank, 250), payments.post(:bank, :owed, 3000), payments.post(:clearing, :bank, 700),
	payments.post(:yen, :capital, 5000), payments.post(:theirs, :their_sales, 1) \g /dev/null
SELECT payments.hold(:owed, :bank, 400), (payments.hold(:owed, :bank, 100)).hold_id AS half \gset
SELECT payments.post_hold(:half, 30, final => false) \g /dev/null
SELECT clock_timestamp() AS t1 \gset
SET ROLE close_admin;
SELECT results_eq(format($$SELECT merchant_name, number, from_time, closed_until, postings, late, repeated FROM payments.close_period(%L)$$, :'t1'),
	format($$VALUES ('other', 1, NULL::timestamptz, %L::timestamptz, 1::bigint, 0::bigint, false), ('shop', 1, NULL, %L, 6, 0, false)$$, :'t1', :'t1'),
	'all merchants that have accounts are closed');
SELECT results_eq(format($$SELECT merchant_name, number, postings, repeated FROM payments.close_period(%L)$$, :'t1'),
	$$VALUES ('other', 1, 1::bigint, true), ('shop', 1, 6, true)$$, 'once');
RESET ROLE;
SELECT results_eq($$SELECT code, opening, debits, credits, closing, closing_text FROM payments.closed_balance WHERE merchant = 'shop' AND number = 1 ORDER BY account_id$$,
	$$VALUES ('bank', 0::bigint, 13000::bigint, 980::bigint, 12020::bigint, '120.20 EUR'), ('sales', 0, 0, 10000, 10000, '100.00 EUR'), ('fees', 0, 250, 0, 250, '2.50 EUR'),
		('owed', 0, 30, 3000, 2970, '29.70 EUR'), ('card_clearing', 0, 700, 0, 700, '7.00 EUR'), ('yen', 0, 5000, 0, 5000, '5000 JPY'), ('capital', 0, 0, 5000, 5000, '5000 JPY')$$,
	'what the accounts came to; one that did nothing is not there');
SELECT results_eq($$SELECT debits, credits, outside, closed_by FROM payments.period_close WHERE merchant = 'shop'$$,
	$$VALUES ('{"EUR": 13980, "JPY": 5000}'::jsonb, '{"EUR": 13980, "JPY": 5000}'::jsonb, '{}'::jsonb, 'close_admin')$$, 'and all of them, and who closed it');
SELECT is((SELECT format('%s %s %s', closed_until = :'t1', (SELECT closed_until FROM payments.merchant WHERE merchant = 'other') = :'t1',
	(SELECT closed_until FROM payments.merchant WHERE merchant = 'idle')) FROM payments.merchant WHERE merchant = 'shop'), 't t ', 'the merchants know it; who has no accounts is not closed');

-- Balances are those of the ledger.
SELECT is((SELECT count(*)::int FROM payments.closed_balance c JOIN payments.trial_balance t ON t.account_id = c.account_id WHERE c.closing <> t.balance), 0, 'closing balances are those of the trial balance');
SELECT is((SELECT count(*) FILTER (WHERE ok) || '/' || count(*) FROM payments.verify_close('shop', 1)), '4/4', 'verify_close() finds the same');

-- The freeze.
SELECT throws_ok(format($$SELECT payments.post(%s, %s, 5, effective_at => %L::timestamptz - interval '1 microsecond', imported => true)$$, :bank, :sales, :'t1'), 'PY218',
	'effective_at lies in a closed period of merchant "shop"', 'a posting with an earlier time is refused');
SELECT lives_ok(format($$SELECT payments.post(%s, %s, 5, effective_at => %L, imported => true)$$, :bank, :sales, :'t1'), 'from the end on it is not');
SELECT throws_ok(format($$SELECT payments.post_transaction(ARRAY[%s, %s], ARRAY[%s, %s], ARRAY[5, 6], effective_at => '2020-01-01', imported => true)$$, :bank, :bank, :sales, :owed), 'PY218', NULL, 'nor a transaction');
SELECT throws_ok(format($$SELECT payments.post_split(ARRAY[%s], ARRAY[%s, %s], 5, ARRAY[1, 1], effective_at => '2020-01-01')$$, :bank, :sales, :owed), '22023', NULL, 'a split must not lie in the past anyway');
SELECT results_eq(format($$SELECT index, error FROM payments.post_batch(ARRAY[%1$s, %1$s, %1$s, %1$s], ARRAY[%2$s, %2$s, %2$s, %2$s], ARRAY[1, 2, 3, 4], ARRAY['r1', 'r2', 'r3', 'r4'],
	effective_at => ARRAY['2020-01-01', NULL, '2020-01-01', now()], groups => ARRAY[NULL, NULL, 1, 1], imported => true)$$, :bank, :sales),
	$$VALUES (1, 'PY218'), (2, NULL), (3, 'PY218'), (4, 'PY215')$$, 'of a batch, those that are earlier, and what belongs to them');
SELECT throws_ok(format($$SELECT payments.post(%s, %s, 1, 'r1', effective_at => '2020-01-01', imported => true)$$, :bank, :sales), 'PY218', 'posting "r1" was refused before and stays refused', 'what was refused stays so');
SELECT throws_ok(format($$SELECT * FROM payments.post_batch(ARRAY[%s], ARRAY[%s], ARRAY[1], effective_at => ARRAY['2020-01-01'::timestamptz], all_or_nothing => true, imported => true)$$, :bank, :sales), 'PY218', NULL, 'or raised');
SELECT lives_ok(format($$SELECT payments.post(%s, %s, 5)$$, :bank, :sales), 'what says no time is posted');
SELECT payments.create_account('a', 'EUR', 'asset', merchant => 'idle') AS a, payments.create_account('b', 'EUR', 'income', merchant => 'idle') AS b \gset
SELECT lives_ok(format($$SELECT payments.post(%s, %s, 5, 'old', effective_at => '2020-01-01', imported => true)$$, :a, :b), 'as is what is another''s');
SELECT throws_ok(format($$SELECT payments.post(%s, %s, 5, effective_at => '2020-01-01', imported => true)$$, :a, :sales), 'PY218', NULL, 'unless one side is closed');
SELECT is((SELECT count(*)::int FROM payments.posting p WHERE p.effective_at < :'t1' AND p.booked_at >= :'t1' AND p.merchant <> 'idle'), 0, 'nothing has got in');

-- The second one, with money of another merchant; opening is what was closed.
SELECT payments.post(:bank, :their_sales, 9) \g /dev/null
SELECT clock_timestamp() AS t2 \gset
SELECT results_eq(format($$SELECT merchant_name, number, from_time, postings FROM payments.close_period(%L)$$, :'t2'),
	format($$VALUES ('idle', 1, NULL::timestamptz, 1::bigint), ('other', 2, %1$L, 1), ('shop', 2, %1$L::timestamptz, 4)$$, :'t1'), 'a period begins where the last one ended');
SELECT lives_ok(format($$SELECT payments.post(%s, %s, 5, 'old', effective_at => '2020-01-01', imported => true)$$, :a, :b), 'a repetition gets its posting, closed or not');
SELECT is((SELECT count(*)::int FROM payments.posting WHERE reference = 'old'), 1, 'and posts nothing');
SELECT is((SELECT count(*)::int FROM payments.period_balance b FULL JOIN payments.period_balance n ON n.merchant = b.merchant AND n.number = b.number + 1 AND n.account_id = b.account_id
	WHERE b.number = 1 AND b.merchant <> 'idle' AND b.closing IS DISTINCT FROM n.opening), 0, 'what was closed is opened');
SELECT results_eq($$SELECT merchant, outside FROM payments.period_close WHERE number = 2 ORDER BY merchant$$, $$VALUES ('other', '{"EUR": -9}'::jsonb), ('shop', '{"EUR": 9}')$$,
	'a posting between two merchants is outside for both');
SELECT throws_ok(format($$SELECT payments.close_period(%L::timestamptz - interval '1 microsecond', 'shop')$$, :'t2'), 'PY631', NULL, 'no period into one that is closed');
SELECT throws_ok(format($$SELECT payments.close_period(%L::timestamptz - interval '1 microsecond', 'shop')$$, :'t1'), 'PY631', NULL, 'nor before it');
SELECT is_empty(format($$SELECT * FROM payments.close_period(%L::timestamptz - interval '1 microsecond')$$, :'t2'), 'of all merchants, who is closed further is left out');
SELECT results_eq(format($$SELECT merchant_name, number, repeated FROM payments.close_period(%L)$$, :'t1'), $$VALUES ('other', 1, true), ('shop', 1, true)$$, 'the first is still the first');
-- One merchant alone, with nothing in it.
SELECT clock_timestamp() AS t3 \gset
SELECT results_eq(format($$SELECT merchant_name, number, postings FROM payments.close_period(%L, 'shop')$$, :'t3'), $$VALUES ('shop', 3, 0::bigint)$$, 'a period in which nothing happened');
SELECT is((SELECT sum(closing) FROM payments.period_balance WHERE merchant = 'shop' AND number = 3), (SELECT sum(closing) FROM payments.period_balance WHERE merchant = 'shop' AND number = 2), 'carries over what there was');
-- In a transaction that has posted, that would be left out.
BEGIN;
SELECT payments.post(:bank, :sales, 5) \g /dev/null
SELECT throws_ok($$SELECT payments.close_period(clock_timestamp(), 'shop')$$, 'PY630', NULL, 'not with postings of the transaction itself in it');
ROLLBACK;
SELECT is((SELECT count(*)::int FROM payments.merchant m, unnest(ARRAY[1, 2, 3]) n, payments.verify_close(m.merchant, n) v
	WHERE (m.merchant, n) IN (SELECT merchant, number FROM payments.period_close) AND v.ok IS DISTINCT FROM true), 0, 'verify_close() finds nothing wrong with any');
SELECT is((SELECT string_agg(invariant, '; ') FROM payments.check() WHERE NOT ok), NULL, 'nor does check()');
SELECT payments.seal_blocks() \g /dev/null
SELECT is((SELECT kind FROM payments.verify()), 'ok', 'closes are sealed');
SELECT is((SELECT count(*)::int FROM payments.seal_table WHERE name IN ('period_close', 'period_balance')), 2, 'both tables');

-- Its hash can be computed by others.
SELECT is((SELECT encode(sha256(convert_to(
	E'payments close 1\nmerchant "shop"\nnumber 2\nfrom ' || to_char(:'t1'::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || E'\nto '
	|| to_char(:'t2'::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || E'\nto_xid ' || c.to_xid || E'\npostings 4\nprevious '
	|| encode((SELECT sha256 FROM payments.period_close WHERE merchant = 'shop' AND number = 1), 'hex') || E'\n'
	|| (SELECT string_agg(format('account %s %s %s %s %s %s %s "%s"', account_id, type, currency, opening, debits, credits, closing, code) || E'\n', '' ORDER BY account_id)
		FROM payments.closed_balance b WHERE b.merchant = 'shop' AND b.number = 2), 'UTF8')), 'hex') FROM payments.period_close c WHERE c.merchant = 'shop' AND c.number = 2),
	(SELECT encode(sha256, 'hex') FROM payments.period_close WHERE merchant = 'shop' AND number = 2), 'the SHA-256 is that of the text in docs/close.md');

-- The report.
SELECT results_eq($$SELECT section, currency, item, opening, debits, credits, closing, ok FROM payments.close_lines('shop', 1)$$, $$VALUES
	('type', 'EUR', 'asset', 0::numeric, 13700::numeric, 980::numeric, 12720::numeric, NULL::boolean), ('type', 'EUR', 'expense', 0, 250, 0, 250, NULL), ('type', 'EUR', 'liability', 0, 30, 3000, 2970, NULL),
	('type', 'EUR', 'income', 0, 0, 10000, 10000, NULL), ('type', 'JPY', 'asset', 0, 5000, 0, 5000, NULL), ('type', 'JPY', 'equity', 0, 0, 5000, 5000, NULL),
	('check', 'EUR', 'debits = credits', NULL, 13980, 13980, 0, true), ('check', 'EUR', 'assets + expenses = liabilities + income + equity', NULL, 12970, 12970, 0, true),
	('check', 'JPY', 'debits = credits', NULL, 5000, 5000, 0, true), ('check', 'JPY', 'assets + expenses = liabilities + income + equity', NULL, 5000, 5000, 0, true),
	('remark', 'EUR', '2 holds open at the end', NULL, NULL, NULL, 470, NULL), ('remark', 'EUR', 'account "card_clearing" is not at zero', NULL, NULL, NULL, 700, NULL)$$, 'what balances, and what to look at');
SELECT is((SELECT string_agg(format('%s %s %s', item, closing, ok), '; ') FROM payments.close_lines('shop', 2) WHERE section = 'check' AND currency = 'EUR'),
	'debits = credits + postings with other merchants 9 t; assets + expenses = liabilities + income + equity + postings with other merchants 9 t', 'with another merchant on the other side too');
SELECT is((SELECT string_agg(format('%s %s %s', item, closing, ok), '; ') FROM payments.close_lines('shop', 3) WHERE section = 'check' AND currency = 'EUR'),
	'debits = credits 0 t; assets + expenses = liabilities + income + equity + postings with other merchants 9 t', 'and afterwards');
SELECT is((SELECT count(*)::int FROM payments.close_lines('shop', 1, accounts => true) WHERE section = 'account'), 7, 'with all accounts');
SELECT ok((SELECT bool_or(r = 'The period balances.') AND bool_or(r ~ '^ok    debits = credits: 139.80 and 139.80 EUR$') AND bool_or(r ~ '^- 2 holds open at the end: 4.70 EUR$')
	AND bool_or(r ~ '^asset, total +0 +5000 +0 +5000$') AND bool_or(r ~ '^SHA-256    [0-9a-f]{64}$') FROM payments.close_report('shop', 1) r), 'as lines of text');
SELECT is((SELECT count(*)::int FROM payments.close_report('shop', 2) r
	WHERE r ~ '^ok    (debits = credits|assets .*equity) [+] postings with other merchants: [0-9.]+ and [0-9.]+ [+] 0[.]09 EUR$'), 2, 'whose two sides are equal as they are printed');
SELECT payments.void_hold(:half, 'later') \g /dev/null
SELECT is((SELECT closing FROM payments.close_lines('shop', 1) WHERE item ~ 'holds'), 470::numeric, 'what happens later changes no report');
INSERT INTO payments.discrepancy_found (psp, kind, subject, run_id, occurred_at, found_at) VALUES
	('sandbox', 'missing_here', 'in it', 1, :'t1'::timestamptz - interval '1 second', now()), ('sandbox', 'missing_here', 'decided', 1, :'t1'::timestamptz - interval '1 second', now()),
	('sandbox', 'missing_here', 'after it', 1, :'t1', now());
INSERT INTO payments.discrepancy_resolution (discrepancy_id, seq, action, reason, actor, recorded_at)
SELECT discrepancy_id, 1, 'accept', 'x', 'x', now() FROM payments.discrepancy_found WHERE subject = 'decided';
SELECT is((SELECT string_agg(item, '; ') FROM payments.close_lines('shop', 1) WHERE item ~ 'discrep'), '1 discrepancies of the period are open', 'open discrepancies are a remark');

-- Who may.
SET ROLE close_shop;
SELECT is((SELECT string_agg(DISTINCT merchant, ' ') FROM payments.period_close), 'idle shop', 'an application sees its own closes, and those of merchants that are everybody''s');
SELECT is((SELECT count(DISTINCT merchant)::int FROM payments.period_balance), 2, 'and balances');
SELECT is((SELECT count(DISTINCT merchant)::int FROM payments.closed_balance), 2, 'by name as well');
SELECT lives_ok($$SELECT payments.close_report('shop'), payments.verify_close('shop'), payments.close_lines('shop')$$, 'and reports');
SELECT throws_ok($$SELECT payments.close_report('other')$$, '42501', NULL, 'of no other');
SELECT throws_ok($$SELECT payments.close_lines('other')$$, '42501', NULL, 'in no form');
SELECT throws_ok($$SELECT payments.verify_close('other')$$, '42501', NULL, 'nor its truth');
SELECT throws_ok($$SELECT payments.close_period(now())$$, '42501', NULL, 'to close is an administrator''s');
RESET ROLE;
SET ROLE close_auditor;
SELECT lives_ok($$SELECT payments.close_report('other'), payments.verify_close('shop')$$, 'an auditor reads all');
SELECT throws_ok($$SELECT payments.close_period(now())$$, '42501', NULL, 'and closes nothing');
RESET ROLE;

-- What is closed stays.
SELECT throws_ok($$UPDATE payments.period_close SET postings = 0$$, 'PY003', NULL, 'no close is changed');
SELECT throws_ok($$DELETE FROM payments.period_balance$$, 'PY003', NULL, 'no balance removed');
SELECT throws_ok($$TRUNCATE payments.period_close$$, 'PY003', NULL, 'nor all of them');
SELECT throws_ok($$UPDATE payments.merchant SET created_at = now()$$, 'PY003', NULL, 'a merchant''s facts stay');

-- check() and verify_close() tell each kind of harm.
CREATE FUNCTION pg_temp.harm(sql text, number int DEFAULT 3) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	SET LOCAL allow_system_table_mods = on;
	UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'guard_append_only';
	UPDATE pg_class SET relhastriggers = relhastriggers WHERE relnamespace = 'payments'::regnamespace;
	EXECUTE sql;
	found := coalesce((SELECT string_agg(DISTINCT c.invariant, '; ' ORDER BY c.invariant) FROM payments.check() c WHERE NOT c.ok AND c.invariant NOT IN ('the guards are armed', 'tables and views are as setup() made them', 'the seals are guarded')), 'clean')
		|| ' / ' || coalesce((SELECT string_agg(v.subject, '; ') FROM payments.verify_close('shop', number) v WHERE NOT v.ok), '');
	RAISE EXCEPTION USING ERRCODE = 'P0003', MESSAGE = found;
EXCEPTION WHEN SQLSTATE 'P0003' THEN
	RETURN SQLERRM;
END
$$;
SELECT is(pg_temp.harm($$SELECT 1$$), 'clean / ', 'without harm nothing is found');
SELECT is(pg_temp.harm(format($$UPDATE payments.period_balance SET closing = closing + 1, opening = opening + 1 WHERE number = 3 AND account_id = %s$$, :bank)),
	'a close balances, and the last one has its SHA-256; a closed period is what its postings make; closes follow one another, and each opens as the one before closed'
	' / its SHA-256 is that of the trial balance; it begins where the close before ended', 'a balance of the last close');
SELECT is(pg_temp.harm(format($$UPDATE payments.period_balance SET debits = debits + 1, closing = closing + 1 WHERE number = 1 AND account_id = %s$$, :bank), 1),
	'a close balances, and the last one has its SHA-256; closes follow one another, and each opens as the one before closed'
	' / its SHA-256 is that of the trial balance; its sums add up; it is what its postings make', 'one of an older close');
SELECT is(pg_temp.harm(format($$DELETE FROM payments.period_balance WHERE number = 3 AND account_id IN (%s, %s)$$, :yen, :capital)),
	'a close balances, and the last one has its SHA-256; a closed period is what its postings make; closes follow one another, and each opens as the one before closed'
	' / its SHA-256 is that of the trial balance; it begins where the close before ended; its sums add up', 'balances that are gone');
SELECT is(pg_temp.harm(format($$UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = (SELECT min(posting_id) FROM payments.posting WHERE debit_account = %s);
	UPDATE payments.account SET debits = debits + 1 WHERE account_id = %s; UPDATE payments.account_delta SET credits = credits + 1 WHERE delta_id = (SELECT min(delta_id) FROM payments.account_delta WHERE account_id = %s)$$,
	:bank, :bank, :sales), 1),
	'a closed period is what its postings make / it is what its postings make', 'a posting that was changed together with its accounts');
SELECT is(pg_temp.harm($$DELETE FROM payments.period_close WHERE merchant = 'shop' AND number = 2$$),
	'a close balances, and the last one has its SHA-256; closes follow one another, and each opens as the one before closed / its SHA-256 is that of the trial balance; it begins where the close before ended; it is what its postings make', 'a close in the middle that is gone');
SELECT is(pg_temp.harm($$UPDATE payments.merchant SET closed_until = now() WHERE merchant = 'shop'$$),
	'closes follow one another, and each opens as the one before closed / ', 'a merchant that is frozen beyond his closes');
SELECT is(pg_temp.harm(format($$INSERT INTO payments.posting (posting_id, debit_account, credit_account, amount, effective_at, booked_at, imported, currency, kind, merchant) OVERRIDING SYSTEM VALUE
	VALUES (1000000, %1$s, %2$s, 1, %3$L::timestamptz - interval '1 hour', clock_timestamp(), true, 'EUR', 'manual', 'shop');
	UPDATE payments.account SET debits = debits + 1 WHERE account_id = %1$s; UPDATE payments.account SET credits = credits + 1 WHERE account_id = %2$s$$, :bank, :owed, :'t3')),
	'nothing takes effect in a closed period after its close / ', 'a posting that a superuser wrote into it');
-- As after a restore of data alone, which keeps the row that setup() has made.
UPDATE payments.merchant SET closed_until = NULL WHERE merchant = 'shop';
SELECT throws_ok(format($$SELECT payments.post(%s, %s, 5, effective_at => '2020-01-01', imported => true)$$, :bank, :sales), 'PY218', NULL, 'a merchant whose row forgets it is frozen still');
SELECT is(pg_temp.harm($$UPDATE payments.period_close SET sha256 = sha256('') WHERE merchant = 'shop' AND number = 3$$),
	'a close balances, and the last one has its SHA-256 / its SHA-256 is that of the trial balance', 'a hash');
SELECT is((SELECT string_agg(invariant, '; ') FROM payments.check() WHERE NOT ok), NULL, 'and is clean without');

-- Sums that no bigint holds, and names with what text formats fear.
SELECT payments.create_merchant(E'big "\n%s');
SELECT payments.create_account(E'a"\\ %s', 'EUR', 'asset', merchant => E'big "\n%s') AS a1, payments.create_account('a2', 'EUR', 'asset', merchant => E'big "\n%s') AS a2,
	payments.create_account('l1', 'EUR', 'liability', merchant => E'big "\n%s') AS l1, payments.create_account('l2', 'EUR', 'liability', merchant => E'big "\n%s') AS l2 \gset
SELECT payments.post(:a1, :l1, 9223372036854775807), payments.post(:a2, :l2, 9223372036854775807) \g /dev/null
SELECT clock_timestamp() AS t4 \gset
SELECT results_eq(format($$SELECT number, postings FROM payments.close_period(%L, E'big "\n%%s')$$, :'t4'), $$VALUES (1, 2::bigint)$$, 'a merchant of much money');
SELECT is((SELECT debits::text FROM payments.period_close WHERE merchant ~ 'big'), '{"EUR": 18446744073709551614}', 'sums have no limit');
SELECT ok((SELECT bool_or(r ~ ' 184467440737095516.14$') FROM payments.close_report(E'big "\n%s', accounts => true) r), 'nor has the report');
-- Whoever signs it reads lines, and each is the report's.
SELECT is((SELECT count(*)::int FROM payments.close_report(E'big "\n%s', accounts => true) r WHERE r ~ E'[\\x01-\\x1f\\x7f]'), 0, 'no name begins a line of its own in a report');
SELECT is(payments._one_line(E'a\nb\r\u0085c\u2028d\u2029\x7f\te\u00e4\u20ac'), E'a?b??c?d???e\u00e4\u20ac', 'whatever ends it');
SELECT account_id AS lines FROM payments.account WHERE merchant = E'big "\n%s' ORDER BY 1 LIMIT 1 \gset
SELECT throws_ok(format('SELECT payments.%s', v), '22023', NULL, 'nor does what names something hold it: ' || v) FROM unnest(ARRAY[
	$$create_account(E'a\nok    debits = credits', 'EUR', 'asset')$$, format($$post(%s, %s, 1, reference => E'a\u2028b')$$, :lines, :lines + 1),
	format($$post(%s, %s, 1, kind => E'a\rb')$$, :lines, :lines + 1), format($$post(%s, %s, 1, kind => E'a\u0085b')$$, :lines, :lines + 1), format($$hold(%s, %s, 1, reference => E'a\x7fb')$$, :lines, :lines + 1),
	$$reverse_posting(1, 'wrong', E'a\nb')$$, format($$post_batch(ARRAY[%s], ARRAY[%s], ARRAY[1], kinds => ARRAY[E'a\nb'], all_or_nothing => true)$$, :lines, :lines + 1),
	format($$post_transaction(ARRAY[%s], ARRAY[%s], ARRAY[1], reference => E'a\nb')$$, :lines, :lines + 1)]) v;
SELECT is((SELECT count(*)::int FROM payments.verify_close(E'big "\n%s') WHERE ok), 4, 'and it is verified');
SELECT is((SELECT string_agg(invariant, '; ') FROM payments.check() WHERE NOT ok), NULL, 'check() is clean at the end');

-- A row of a transaction that nobody will ever begin: it would be waited for without end.
INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant, xid)
VALUES (:bank, :sales, 1, clock_timestamp(), clock_timestamp(), 'EUR', 'manual', 'shop', '9223372036854775000');
SELECT isnt_empty($$SELECT * FROM payments.close_period(clock_timestamp(), 'shop')$$, 'a close does not wait for it');
SELECT ok(EXISTS (SELECT FROM payments.check() WHERE invariant = 'every row will be sealed' AND NOT ok), 'check() tells of it');

SELECT * FROM finish();
