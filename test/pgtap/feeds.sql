-- If this fails, what the PSP's API lists is read as other money than the PSP
-- means, or an operator cannot have it read again.

\ir ../lib/prelude.sql
SELECT no_plan();

-- ---------- rows

SELECT payments.create_psp('stripe', 'stripe', config => '{"feeds": {"interval_s": 30}}');
SELECT results_eq($$SELECT psp, feed, enabled, page_size, watermark BETWEEN now() - interval '1 min' AND now() FROM payments.psp_feed ORDER BY feed$$,
	$$VALUES ('stripe', 'events', true, 100, true), ('stripe', 'settlement', true, 100, true)$$, 'create_psp() makes the feeds of its adapter');
SELECT is((SELECT count(*)::int FROM payments.psp_feed WHERE psp = 'sandbox'), 0, 'the sandbox has none');
SELECT payments.create_psp('twice', 'stripe');
CREATE TEMP TABLE former AS SELECT feed, attempt FROM payments.psp_feed WHERE psp = 'twice';
DELETE FROM payments.psp WHERE psp = 'twice';
SELECT is_empty($$SELECT invariant, sample FROM payments.check() WHERE NOT ok$$, 'its feeds go with a PSP that is deleted');
SELECT payments.create_psp('twice', 'stripe');
SELECT ok(bool_and(feed.attempt > former.attempt + 1), 'when a PSP is deleted and made again, the first claim is not taken for one of before')
FROM payments.psp_feed AS feed JOIN former USING (feed) WHERE psp = 'twice';
DELETE FROM payments.psp WHERE psp = 'twice';
UPDATE payments.psp_feed SET watermark = '2026-01-01 00:00:00+00', entries_read = 7;
SELECT payments.create_psp('stripe', 'stripe');
SELECT is((SELECT count(*)::int FROM payments.psp_feed WHERE watermark = '2026-01-01 00:00:00+00' AND entries_read = 7), 2, 'made anew, a PSP''s feeds stand where they stood');
SELECT results_eq('SELECT * FROM payments._feed_settings(''{}'')', 'VALUES (60, 5, 600, 86400)', 'defaults');
SELECT results_eq($$SELECT * FROM payments._feed_settings('{"feeds": {"interval_s": 0, "lag_s": "x", "overlap_s": 1e30, "window_s": 1}}')$$,
	'VALUES (1, 5, 600, 60)', 'nonsense that somebody has written around create_psp() does no harm');

SELECT throws_ok(format('SELECT payments.create_psp(''stripe'', ''stripe'', config => %L)', c.config), '22023', NULL, 'config ' || c.config)
FROM (VALUES ('{"feeds": {"interval_s": 0}}'), ('{"feeds": {"interval_s": 90000}}'), ('{"feeds": {"interval_s": "60"}}'), ('{"feeds": {"interval_s": 1.5}}'),
	('{"feeds": {"lag_s": -1}}'), ('{"feeds": {"overlap_s": 604801}}'), ('{"feeds": {"window_s": 59}}'), ('{"feeds": {"interval": 60}}'), ('{"feeds": []}'),
	('{"feeds": 5}'), ('{"fees": {"lag_s": 0}}'), ('{"feeds": {}, "other": [1]}'), ('[]'), ('{"feeds": {"interval_s": null}}')) c (config);
SELECT lives_ok(format('SELECT payments.create_psp(''stripe'', ''stripe'', config => %L)', c.config), 'config ' || c.config)
FROM (VALUES ('{}'), ('{"feeds": {}}'), ('{"feeds": {"lag_s": 0, "overlap_s": 0, "interval_s": 1, "window_s": 60}, "merchant": "books"}')) c (config);

-- ---------- what an operator may do

SELECT is(payments.refetch('stripe', 'events', '2025-12-31 12:00:00.7+00'), '2025-12-31 12:00:00+00', 'read again from then on, at a whole second');
SELECT is(payments.refetch('stripe', 'events', '2026-02-01 00:00:00+00'), '2025-12-31 12:00:00+00', 'never forwards');
SELECT is(payments.refetch('stripe', 'events'), '2025-12-31 12:00:00+00', 'at once, where it stands');
UPDATE payments.psp_feed SET window_from = watermark, window_to = watermark + interval '1 h', page_cursor = 'evt_1', claimed_by = 'payments_worker', attempt = 5 WHERE feed = 'events';
SELECT payments.refetch('stripe', 'events', '2025-12-01 00:00:00+00');
SELECT results_eq($$SELECT window_to IS NULL, page_cursor IS NULL, claimed_by IS NULL, attempt FROM payments.psp_feed WHERE feed = 'events'$$,
	'VALUES (true, true, true, 6::bigint)', 'the call in flight is disowned');
SELECT throws_ok($$SELECT payments.refetch('stripe', 'events', now() + interval '1 min')$$, '22023', NULL, 'not from the future');
SELECT throws_ok($$SELECT payments.refetch('stripe', 'charges')$$, 'PY640', NULL, 'an unknown feed');
SELECT throws_ok($$SELECT payments.enable_feed('sandbox', 'events')$$, 'PY640', NULL, 'a PSP without feeds');
SELECT payments.enable_feed('stripe', 'events', false);
SELECT is((SELECT problem FROM payments.feed_status WHERE feed = 'events'), 'not enabled', 'switched off, and feed_status says so');
SELECT payments.enable_feed('stripe', 'events');
SELECT matches((SELECT problem FROM payments.feed_status WHERE feed = 'events'), '^not armed: ', 'not armed');
SELECT throws_ok($$UPDATE payments.psp_feed SET page_cursor = 'x' WHERE feed = 'settlement'$$, '23514', NULL, 'no cursor without a window');
SELECT throws_ok($$UPDATE payments.psp_feed SET window_from = now(), window_to = now() - interval '1 s'$$, '23514', NULL, 'no window that goes backwards');
SELECT throws_ok($$SELECT payments.discard_feed_entry('stripe', 'events', 'evt_1', ' ')$$, '22023', NULL, 'discarding needs a reason');
SELECT throws_ok($$SELECT payments.discard_feed_entry('stripe', 'events', 'evt_1', 'why')$$, 'PY641', NULL, 'and an entry');

-- ---------- the list of balance transactions

CREATE FUNCTION pg_temp.entry(id text, category text, amount bigint, fee bigint, source jsonb, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT (jsonb_build_object('id', id, 'object', 'balance_transaction', 'amount', amount, 'fee', fee, 'net', amount - fee, 'currency', 'eur',
		'created', 1790000000, 'available_on', 1790172800, 'type', category, 'reporting_category', category, 'source', source, 'description', NULL) || more)::text
$$;
CREATE FUNCTION pg_temp.list(VARIADIC entries text[]) RETURNS text LANGUAGE sql AS $$
	SELECT '{"object": "list", "has_more": false, "url": "/v1/balance_transactions", "data": [' || array_to_string(entries, ', ') || ']}'
$$;

SELECT results_eq(format($$SELECT lines FROM payments.import_settlement('stripe', 'stripe_api', %L, options => '{"amounts": "minor"}')$$, pg_temp.list(
	pg_temp.entry('txn_1', 'charge', 1000, 40, '{"id": "ch_1", "object": "charge", "amount": 1000, "amount_captured": 1000, "currency": "eur", "payment_intent": "pi_1", "metadata": {"payments_ref": "REF1", "order_ref": "o-1"}, "billing_details": {"name": "A. Payer"}}'),
	pg_temp.entry('txn_2', 'refund', -300, 0, '{"id": "re_1", "object": "refund", "amount": 300, "currency": "eur", "payment_intent": "pi_1", "charge": "ch_1", "metadata": {"payments_ref": "REF2"}}'),
	pg_temp.entry('txn_3', 'dispute', -700, 1500, '{"id": "dp_1", "object": "dispute", "amount": 700, "currency": "eur", "payment_intent": "pi_1", "charge": "ch_1", "metadata": {}}', '{"type": "adjustment"}'),
	pg_temp.entry('txn_4', 'payout', -500, 0, '{"id": "po_1", "object": "payout", "amount": 500, "currency": "eur", "metadata": {}}'),
	pg_temp.entry('txn_5', 'fee', -10, 0, NULL, '{"type": "stripe_fee"}'),
	pg_temp.entry('txn_6', 'risk_reserved_funds', -50, 0, NULL, '{"type": "reserve_transaction"}'),
	pg_temp.entry('txn_7', 'risk_reserved_funds', 50, 0, NULL, '{"type": "reserve_transaction"}'),
	pg_temp.entry('txn_8', 'of_tomorrow', 5, 0, NULL),
	pg_temp.entry('txn_9', 'charge', 1000, 40, '{"id": "ch_9", "object": "charge", "amount": 2000, "amount_captured": 1900, "currency": "usd", "payment_intent": {"id": "pi_9"}, "metadata": {"order_ref": "o-9"}}', '{"exchange_rate": 0.5263}'),
	pg_temp.entry('txn_10', 'charge', 700, 0, '"ch_10"', '{"currency": "jpy"}'),
	pg_temp.entry('txn_11', 'charge', 500, 0, '"ch_11"', '{"currency": "isk"}'))),
	'VALUES (11)', 'a list is imported');
SELECT results_eq('SELECT line_no, kind, type, psp_object_id, psp_payment_id, reference, gross, fee, net, currency FROM payments.settlement_line ORDER BY line_no', $$VALUES
	(1, 'charge', 'charge', 'ch_1', 'pi_1', 'REF1', 1000::bigint, 40::bigint, 960::bigint, 'EUR'),
	(2, 'refund', 'refund', 're_1', 'pi_1', 'REF2', -300, 0, -300, 'EUR'),
	(3, 'chargeback', 'dispute', 'dp_1', 'pi_1', NULL, -700, 1500, -2200, 'EUR'),
	(4, 'payout', 'payout', 'po_1', NULL, NULL, -500, 0, -500, 'EUR'),
	(5, 'fee', 'fee', 'txn_5', NULL, NULL, -10, 0, -10, 'EUR'),
	(6, 'reserve', 'risk_reserved_funds', 'txn_6', NULL, NULL, -50, 0, -50, 'EUR'),
	(7, 'reserve_release', 'risk_reserved_funds', 'txn_7', NULL, NULL, 50, 0, 50, 'EUR'),
	(8, 'unknown', 'of_tomorrow', 'txn_8', NULL, NULL, 5, 0, 5, 'EUR'),
	(9, 'charge', 'charge', 'ch_9', 'pi_9', 'o-9', 1000, 40, 960, 'EUR'),
	(10, 'charge', 'charge', 'ch_10', NULL, NULL, 700, 0, 700, 'JPY'),
	-- Stripe counts krónur in hundredths, ISO 4217 does not.
	(11, 'charge', 'charge', 'ch_11', NULL, NULL, 5, 0, 5, 'ISK')$$, 'line by line');
SELECT results_eq('SELECT line_no, original_amount, original_currency FROM payments.settlement_line WHERE original_amount IS NOT NULL', $$VALUES (9, 2000::bigint, 'USD')$$,
	'what the payer was charged in another currency');
SELECT results_eq('SELECT DISTINCT occurred_at, available_at FROM payments.settlement_line', $$VALUES ('2026-09-21 14:13:20+00'::timestamptz, '2026-09-23 14:13:20+00'::timestamptz)$$, 'times');
SELECT is((SELECT payout_ref FROM payments.settlement_line WHERE kind = 'payout'), 'po_1', 'a payout names itself');
SELECT is((SELECT raw -> 'source' FROM payments.settlement_line WHERE line_no = 1), '"ch_1"', 'the payer''s name and address are left with the PSP');

-- One table of words for reports and API.
SELECT results_eq(format('SELECT type, kind FROM payments._settlement_stripe_api(%L, ''{}'')', pg_temp.list(VARIADIC ARRAY(
	SELECT pg_temp.entry('txn_' || n, w, 5, 0, NULL) FROM unnest(ARRAY['charge', 'PAYMENT', 'partial_capture_reversal', 'dispute_reversal', 'payout_failure',
		'tax', 'topup', 'reserved_funds', 'x']) WITH ORDINALITY u (w, n) ORDER BY n))),
	$$VALUES ('charge', 'charge'), ('PAYMENT', 'charge'), ('partial_capture_reversal', 'charge'), ('dispute_reversal', 'chargeback_reversal'), ('payout_failure', 'payout_failure'), ('tax', 'fee'), ('topup', 'transfer'), ('reserved_funds', 'reserve_release'), ('x', 'unknown')$$, 'kinds');

-- The list alone, escapes, a name of ours that is empty, and what is in no field that we read.
SELECT results_eq(format('SELECT line_no, psp_object_id, psp_payment_id, reference, description, raw FROM payments._settlement_stripe_api(%L, ''{}'')',
	$$ [ {"object": "balance_transaction", "id": "txn_\u0041", "description": "a \"b\" \ud83d\ude00\n", "s\u006furce": {"object": "charge", "name": "A. Payer"}, "x": [1, {"y": null}]},
	{"object": "balance_transaction", "id": "txn_b", "source": {"object": "charge", "id": "ch_b", "payment_intent": null, "metadata": {"payments_ref": "", "order_ref": "o-1"}}},
	{"object": "balance_transaction", "id": "txn_c", "source": {"object": "refund", "id": "re_c", "charge": {"id": "ch_c"}, "metadata": {}}},
	{"object": "balance_transaction", "id": "txn_d", "source": {"object": "charge", "name": "A. Payer"}},
	{"object": "balance_transaction", "id": "txn_e", "source": [{"id": "ch_e", "name": "A. Payer"}]},
	{"object": "balance_transaction", "id": "txn_f", "source": 5},
	{"object": "balance_transaction", "id": "txn_g", "source": ""},
	{"object": "balance_transaction", "id": "txn_h", "source": null} ]$$), $$VALUES
	(1, 'txn_A', NULL, NULL, E'a "b" \U0001F600\n', '{"object": "balance_transaction", "id": "txn_A", "description": "a \"b\" \ud83d\ude00\n", "source": null, "x": [1, {"y": null}]}'::jsonb),
	(2, 'ch_b', 'ch_b', 'o-1', NULL, '{"object": "balance_transaction", "id": "txn_b", "source": "ch_b"}'),
	(3, 're_c', 'ch_c', NULL, NULL, '{"object": "balance_transaction", "id": "txn_c", "source": "re_c"}'),
	(4, 'txn_d', NULL, NULL, NULL, '{"object": "balance_transaction", "id": "txn_d", "source": null}'),
	(5, 'txn_e', NULL, NULL, NULL, '{"object": "balance_transaction", "id": "txn_e", "source": null}'),
	(6, 'txn_f', NULL, NULL, NULL, '{"object": "balance_transaction", "id": "txn_f", "source": null}'),
	(7, '', NULL, NULL, NULL, '{"object": "balance_transaction", "id": "txn_g", "source": ""}'),
	(8, 'txn_h', NULL, NULL, NULL, '{"object": "balance_transaction", "id": "txn_h", "source": null}')$$, 'what is read, and what is kept');
SELECT is((SELECT count(*)::int FROM payments._settlement_stripe_api('{"object": "list", "data": []}', '{}')), 0, 'an empty list has no lines');
SELECT throws_like(format('SELECT payments._settlement_stripe_api(%L, ''{}'')', c.content), c.message, 'refused: ' || left(c.content, 70))
FROM (VALUES ('[{"object": "balance_transaction", "id": "a"}, {"object": "balance_transaction", "description": "\u0000"}]', 'line 2 of the settlement file cannot be read: it is not JSON%'),
	('[{"object": "balance_transaction", "x": tru}]', 'line 1 of the settlement file cannot be read: it is not JSON%'),
	('[{"object": "balance_transaction"}', 'line 1 of the settlement file cannot be read: the list breaks off%'),
	('[{"object": "balance_transaction", "created": 99999999999}]', 'line 1 of the settlement file cannot be read: created %'),
	('{"object": "list", "data": {}}', 'the settlement file cannot be read: it is not a list of balance transactions')) c (content, message);

SELECT throws_ok(format($$SELECT payments.import_settlement('stripe', 'stripe_api', %L, options => '{"amounts": "minor"}')$$, c.content), 'PY602', NULL, 'refused: ' || left(c.content, 60))
FROM (VALUES ('{'), ('{"object": "list"}'), ('5'), ('{"object": "charge"}'), ('[{"object": "charge"}]'), ('[5]'), ('[null]'), (''), ('["balance_transaction"]'),
	('[{"object": "balance_transaction", "id": "txn_a", "currency": "eur"}]'),
	('[{"object": "balance_transaction", "id": "txn_a", "currency": "eur", "amount": "5", "net": "5"}]'),
	('[{"object": "balance_transaction", "id": "txn_a", "currency": "eur", "amount": 5, "fee": 1, "net": 5}]'),
	('[{"object": "balance_transaction", "id": "txn_a", "currency": "eur", "amount": 5.5, "fee": 0, "net": 5.5}]'),
	('[{"object": "balance_transaction", "id": "txn_a", "currency": "eur", "amount": 1e300, "fee": 0, "net": 1e300}]'),
	('[{"object": "balance_transaction", "id": "txn_a", "currency": "zzz", "amount": 5, "fee": 0, "net": 5}]'),
	(repeat('[', 100000))) c (content);

-- ---------- pages

CREATE FUNCTION pg_temp.page(VARIADIC entries text[]) RETURNS int LANGUAGE sql AS $$
	SELECT payments._feed_import('stripe', 'settlement', 'stripe_api', ARRAY(SELECT e::jsonb ->> 'id' FROM unnest(entries) WITH ORDINALITY u (e, n) ORDER BY n), entries, 'settlement feed')
$$;
SELECT is(pg_temp.page(pg_temp.entry('txn_22', 'charge', 22, 0, '"ch_22"'), pg_temp.entry('txn_21', 'charge', 21, 0, '"ch_21"'), pg_temp.entry('txn_1', 'charge', 1000, 40, '"ch_1"')), 2, 'of a page, what is new');
SELECT results_eq($$SELECT l.line_no, l.gross FROM payments.settlement_line l JOIN payments.settlement_batch b USING (batch_id) WHERE b.file_name = 'settlement feed' ORDER BY 1$$,
	'VALUES (1, 21::bigint), (2, 22::bigint)', 'oldest first');
SELECT is(pg_temp.page(pg_temp.entry('txn_22', 'charge', 22, 0, '"ch_22"', '{"status": "available"}'), pg_temp.entry('txn_21', 'charge', 21, 0, '"ch_21"')), 0, 'again: nothing');
SELECT is(pg_temp.page(pg_temp.entry('txn_23', 'charge', 23, 0, '"ch_23"'), pg_temp.entry('txn_23', 'charge', 23, 0, '"ch_23"')), 1, 'twice on a page: once');
SELECT is((SELECT count(*)::int FROM payments.settlement_batch), 3, 'no batch without a new line');
SELECT payments.create_psp('stripe_two', 'stripe');
SELECT is(payments._feed_import('stripe_two', 'settlement', 'stripe_api', ARRAY['txn_21'], ARRAY[pg_temp.entry('txn_21', 'charge', 21, 0, '"ch_21"')], 'x'), 1, 'an id is one PSP''s own');

SELECT is(pg_temp.page(pg_temp.entry('txn_32', 'charge', 32, 0, '"ch_32"'), pg_temp.entry('txn_bad', 'charge', 5, 0, '"ch_bad"', '{"currency": "zzz", "description": "card 4242424242424242"}'), pg_temp.entry('txn_31', 'charge', 31, 0, '"ch_31"')), 2,
	'one that cannot be read does not hold up the others');
SELECT results_eq('SELECT feed, entry_id, tries, body ~ ''4242424242424242'' FROM payments.feed_entry', $$VALUES ('settlement', 'txn_bad', 1, false)$$, 'it is kept, its card number is not');
SELECT matches((SELECT reason FROM payments.feed_entry), 'currency', 'with the reason');
SELECT is(pg_temp.page(pg_temp.entry('txn_bad', 'charge', 5, 0, '"ch_bad"', '{"currency": "zzz"}')), 0, 'that it comes again changes nothing');
SELECT is(payments._feed_import_one('stripe', 'settlement', 'stripe_api', 'txn_bad', e.body, 'settlement feed'), 0, 'tried again in vain') FROM payments.feed_entry e;
SELECT results_eq('SELECT tries, due_at > clock_timestamp() + interval ''3 min'' FROM payments.feed_entry', 'VALUES (2, true)', 'the next time is later');
INSERT INTO payments.currency (currency, exponent, name, builtin) VALUES ('ZZZ', 2, 'of a test', false);
SELECT is(payments._feed_import_one('stripe', 'settlement', 'stripe_api', 'txn_bad', e.body, 'settlement feed'), 1, 'when the reason is gone it is imported') FROM payments.feed_entry e;
SELECT is((SELECT count(*)::int FROM payments.feed_entry), 0, 'and waits no more');

SELECT payments._feed_keep('stripe', 'events', 'evt_x', '{"id": "evt_x"}', 'no use');
SELECT is((SELECT entries_waiting FROM payments.feed_status WHERE psp = 'stripe' AND feed = 'events'), 1::bigint, 'an entry waits');
SELECT payments.discard_feed_entry('stripe', 'events', 'evt_x', 'made by hand');
SELECT is((SELECT entries_waiting FROM payments.feed_status WHERE psp = 'stripe' AND feed = 'events'), 0::bigint, 'discarded');
SELECT payments._feed_keep('stripe', 'events', 'evt_x', '{"id": "evt_x"}', 'no use');
SELECT results_eq('SELECT tries, discard_reason FROM payments.feed_entry', $$VALUES (1, 'made by hand')$$, 'for good');

-- ---------- rights

SET ROLE payments_operator;
SELECT lives_ok($$SELECT payments.refetch('stripe', 'events')$$, 'an operator refetches');
SELECT lives_ok('SELECT * FROM payments.feed_status', 'and looks');
RESET ROLE;
SET ROLE payments_auditor;
SELECT lives_ok('SELECT * FROM payments.feed_status', 'an auditor looks');
SELECT throws_ok($$SELECT payments.refetch('stripe', 'events')$$, '42501', NULL, 'and no more');
RESET ROLE;
SET ROLE payments_app;
SELECT throws_ok('SELECT * FROM payments.feed_status', '42501', NULL, 'it is no business of an application');
RESET ROLE;

SELECT * FROM finish();
