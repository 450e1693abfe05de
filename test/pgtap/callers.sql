-- If this fails, a function of another merchant's, called in one's session,
-- refunds one's payments and empties one's accounts, by the rights of the
-- session; or what a merchant's role has written for others to call does not
-- work; or a decision is put down to somebody else than who made it.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

CREATE ROLE callers_books; CREATE ROLE callers_toys; CREATE ROLE callers_till; CREATE ROLE callers_operator; CREATE ROLE callers_pool NOINHERIT;
GRANT payments_app TO callers_books, callers_toys;
GRANT payments_operator TO callers_operator;
GRANT callers_books TO callers_pool;
SELECT payments.create_merchant('books', app_role => 'callers_books'), payments.create_merchant('toys', app_role => 'callers_toys');
CREATE FUNCTION pg_temp.said(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate;
END
$$;

-- What each of the two roles has written, for everybody to call.
CREATE SCHEMA callers_books AUTHORIZATION callers_books; CREATE SCHEMA callers_toys AUTHORIZATION callers_toys;
GRANT USAGE ON SCHEMA callers_books, callers_toys TO PUBLIC;
CREATE TEMP TABLE definer AS SELECT 'callers_' || m AS owner, format('CREATE FUNCTION callers_%s.call(call text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L', m, $$
BEGIN
	EXECUTE call;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate;
END
$$) AS statement FROM unnest(ARRAY['books', 'toys']) m;
GRANT SELECT ON definer TO PUBLIC;
SET ROLE callers_books;
SELECT statement AS made FROM definer WHERE owner = 'callers_books' \gexec
SET ROLE callers_toys;
SELECT statement AS made FROM definer WHERE owner = 'callers_toys' \gexec
SET ROLE callers_books;
SELECT payment_id FROM payments.create_payment('k', 100, 'EUR', merchant => 'books') \gset
SELECT payments.create_account('vault', 'EUR', 'liability', 'books') AS vault, payments.create_account('bank', 'EUR', 'asset', 'books') AS bank,
	payments.create_account('spare', 'EUR', 'asset', 'books') AS spare, payments.create_account('other_spare', 'EUR', 'asset', 'books') AS other_spare \gset
SELECT payments.post(:bank, :vault, 1000) AS posting, (SELECT h.hold_id FROM payments.hold(:bank, :vault, 1) h (hold_id)) AS held \gset
SELECT transaction_id FROM payments.post_transaction(ARRAY[:bank::bigint], ARRAY[:vault::bigint], ARRAY[1::bigint]) t (transaction_id) LIMIT 1 \gset
RESET ROLE;

-- Every verb of an application that is about something of one merchant.
CREATE TEMP TABLE call AS SELECT row_number() OVER () AS n, v AS call FROM unnest(ARRAY[
	$$SELECT payments.create_payment('k2', 100, 'EUR', merchant => 'books')$$,
	format('SELECT payments.get_payment(%L)', :'payment_id'),
	format('SELECT payments.payment_history(%L)', :'payment_id'),
	format('SELECT payments.cancel_payment(%L, ''k3'')', :'payment_id'),
	$$SELECT payments.create_account('till', 'EUR', 'asset', 'books')$$,
	format('SELECT payments.close_account(%s)', :spare),
	format('SELECT payments.set_account_hot(%s, true)', :other_spare),
	format('SELECT payments.post(%s, %s, 1)', :bank, :vault),
	format('SELECT payments.post_batch(ARRAY[%s::bigint], ARRAY[%s::bigint], ARRAY[1::bigint])', :bank, :vault),
	format('SELECT payments.hold(%s, %s, 1)', :bank, :vault),
	format('SELECT payments.void_hold(%s)', :held),
	format('SELECT payments.reverse_posting(%s, ''r1'')', :posting),
	format('SELECT payments.post_transaction(ARRAY[%s::bigint], ARRAY[%s::bigint], ARRAY[1::bigint])', :bank, :vault),
	format('SELECT payments.get_transaction(%s)', :transaction_id),
	format('SELECT payments.balance(%s)', :vault),
	format('SELECT payments.balance_at(%s, now())', :vault),
	format('SELECT payments.statement(%s, ''-infinity'', now())', :vault),
	format('SELECT payments.account_totals(%s)', :vault)]) v;
-- And those that end in another error here.
CREATE TEMP TABLE other_call AS SELECT row_number() OVER () AS n, v AS call FROM unnest(ARRAY[
	format('SELECT payments.wait_payment(%L, ''0'')', :'payment_id'),
	format('SELECT payments.capture_payment(%L, ''k4'')', :'payment_id'),
	format('SELECT payments.refund_payment(%L, ''k5'')', :'payment_id'),
	format('SELECT payments.post_hold(%s, 5)', :held),
	format('SELECT payments.reverse_transaction(%s, ''r2'')', :transaction_id),
	$$SELECT payments.verify_close('books')$$,
	$$SELECT payments.close_lines('books')$$,
	$$SELECT payments.close_report('books')$$]) v;
GRANT SELECT ON call, other_call TO PUBLIC;

-- ---------- a wrapper of the merchant's role

SET ROLE callers_till;
SELECT is(callers_books.call(c.call), 'ok', 'wrapped, it works: ' || c.call) FROM call c ORDER BY n;
SELECT isnt(callers_books.call(c.call), '42501', 'wrapped, it is not refused: ' || c.call) FROM other_call c ORDER BY n;
SELECT is(pg_temp.said($$SELECT payments.create_payment('k6', 100, 'EUR', merchant => 'books')$$), '42501', 'though who calls it may call no verb');
RESET ROLE;
SELECT is((SELECT array_agg(DISTINCT h.actor) FROM payments.payment p, payments.payment_history(p.payment_id) h WHERE p.merchant = 'books'), '{callers_books}', 'what is done so, the merchant''s role has done');

-- ---------- a deputy

SET ROLE callers_books;
SELECT ok(callers_toys.call(c.call) IN ('42501', 'PY005', 'PY203', 'PY208'), 'of another''s function, in one''s session: ' || c.call || ': ' || callers_toys.call(c.call)) FROM call c ORDER BY n;
SELECT ok(callers_toys.call(c.call) IN ('42501', 'PY005', 'PY011', 'PY208'), 'of another''s function, in one''s session: ' || c.call || ': ' || callers_toys.call(c.call)) FROM other_call c ORDER BY n;
SELECT is(callers_toys.call($$SELECT payments.create_payment('k', 100, 'EUR', merchant => 'toys')$$), 'ok', 'it acts for its owner''s merchant');
SELECT is(callers_books.call(format('SELECT callers_toys.call(%L)', c.call)), 'ok', 'nor behind a wrapper') FROM call c WHERE n = 2;
SELECT is(pg_temp.said(format('SELECT payments.get_payment(%L)', :'payment_id')), 'ok', 'one''s own is there after that');
RESET ROLE;
SELECT is((SELECT array_agg(h.actor) FROM payments.payment p, payments.payment_history(p.payment_id) h WHERE p.merchant = 'toys'), '{callers_toys}', 'what another''s function does is not put down to one');
SELECT is(callers_toys.call(c.call), '42501', 'nor in a superuser''s session') FROM call c WHERE n = 1;
SET ROLE callers_operator;
SELECT isnt(callers_toys.call(format('SELECT payments.get_payment(%L)', :'payment_id')), 'ok', 'nor in an operator''s');
SELECT is(callers_toys.call($$SELECT payments.resolve_finding(1, 'it was the moon')$$), '42501', 'who decides nothing so');
RESET ROLE;

-- ---------- roles that are taken, and inherited

SET ROLE callers_pool;
SELECT is(pg_temp.said(c.call), '42501', 'who has not taken the role it may take') FROM call c WHERE n = 1;
SET ROLE callers_books;
SELECT isnt(pg_temp.said(c.call), '42501', 'who has') FROM call c WHERE n = 1;
RESET ROLE;

-- ---------- what the server calls by itself

SET ROLE callers_toys;
CREATE TABLE callers_toys.t AS SELECT c.call FROM call c, generate_series(1, 2) WHERE n IN (1, 2, 4, 6);
CREATE FUNCTION callers_toys.f(call text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	EXECUTE call;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN 'refused';
END $$;
CREATE INDEX ON callers_toys.t (callers_toys.f(call));
RESET ROLE;
ANALYZE callers_toys.t;
SELECT is((SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'callers_toys' AND attname = 'f'), '{refused}', 'an index whose table a superuser analyzes has the rights of the table''s owner');
REINDEX TABLE callers_toys.t;
CREATE TABLE callers_toys.log (said text);
ALTER TABLE callers_toys.log OWNER TO callers_toys;
SET ROLE callers_toys;
CREATE FUNCTION callers_toys.trigger() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	new.said := callers_toys.call(new.said);
	RETURN new;
END $$;
CREATE TRIGGER t BEFORE INSERT ON callers_toys.log FOR EACH ROW EXECUTE FUNCTION callers_toys.trigger();
GRANT INSERT, SELECT ON callers_toys.log TO callers_books;
SET ROLE callers_books;
INSERT INTO callers_toys.log SELECT c.call FROM call c WHERE n IN (1, 6);
SELECT is((SELECT count(*)::int FROM callers_toys.log WHERE said = 'ok'), 0, 'nor does a trigger have those of who writes into its table');
RESET ROLE;

-- ---------- an error leaves nobody's rights behind

SET ROLE callers_books;
SELECT is(pg_temp.said($$SELECT payments.create_payment('k', 1, 'EUR', merchant => 'books')$$), 'PY102', 'a verb fails');
SELECT is(callers_toys.call(c.call), '42501', 'and the next one is another''s') FROM call c WHERE n = 1;
RESET ROLE;
SELECT is(payments._caller(), current_user, 'outside of verbs one is oneself');
SET LOCAL ROLE payments_owner;
SELECT is(pg_temp.said(format('SELECT payments.post(%s, %s, 1)', :bank, :vault)), '42501', 'even as the owner of all, for whom nobody called');
RESET ROLE;

-- ---------- nothing of ours forgets who called

SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace AND p.prosecdef), NULL, 'no function is SECURITY DEFINER');

SELECT * FROM finish();
ROLLBACK;
