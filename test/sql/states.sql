-- If this fails, the state machine that people read is not the one that is
-- enforced, or it lets a payment leave a final status.

\set VERBOSITY terse
-- The whole graph.  A change here changes docs/states.md and what clients may rely on.
SELECT from_status, event, to_status FROM payments.transition ORDER BY from_status COLLATE "C", event COLLATE "C";

-- The table and the library agree.
(TABLE payments.transition EXCEPT SELECT * FROM payments._transitions())
UNION ALL
(SELECT * FROM payments._transitions() EXCEPT TABLE payments.transition);

-- Nothing begins but by create, nothing goes back to the beginning.
SELECT * FROM payments.transition WHERE from_status = '' AND event <> 'create' OR to_status = '' OR to_status = 'initiated' AND from_status <> '';

-- Final: no edge leads out.  Resting: wait_payment() may stop there.
SELECT s.status, NOT EXISTS (SELECT FROM payments.transition t WHERE t.from_status = s.status) AS final, payments._is_resting(s.status) AS resting
FROM (SELECT DISTINCT to_status AS status FROM payments.transition) s ORDER BY 1;
SELECT count(*) AS edges_out_of_final FROM payments.transition WHERE from_status IN ('failed', 'cancelled', 'expired');

-- Doubt never ends by itself: only a word of the PSP or of a person leads out of it, and a new claim does not.
SELECT count(*) AS claims_out_of_doubt FROM payments.transition WHERE from_status = 'in_doubt' AND event = 'claim';

-- Every status can be reached, and from every status that is not final a final or a resting one.
WITH RECURSIVE reached (status) AS (
	SELECT ''
	UNION
	SELECT t.to_status FROM reached r JOIN payments.transition t ON t.from_status = r.status)
SELECT t.from_status AS unreachable FROM payments.transition t WHERE t.from_status NOT IN (SELECT status FROM reached);
WITH RECURSIVE ends (status) AS (
	SELECT DISTINCT to_status FROM payments.transition WHERE payments._is_resting(to_status)
	UNION
	SELECT t.from_status FROM ends e JOIN payments.transition t ON t.to_status = e.status)
SELECT t.to_status AS dead_end FROM payments.transition t WHERE t.to_status NOT IN (SELECT status FROM ends);

-- A payment's status may be each of these words and no other.
SELECT payment_id AS id FROM payments.create_payment('states-1', 100, 'EUR') \gset
CREATE FUNCTION pg_temp.takes(word text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE payments.payment SET status = word WHERE payment_id = (SELECT k.payment_id FROM payments.idempotency_key k WHERE k.key = 'states-1');
	RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = 'undo';
EXCEPTION
	WHEN SQLSTATE 'ZZ000' THEN RETURN 'known';
	WHEN OTHERS THEN RETURN sqlstate || ' ' || sqlerrm;
END
$$;
SELECT s.status, pg_temp.takes(s.status) FROM (SELECT DISTINCT to_status AS status FROM payments.transition) s WHERE pg_temp.takes(s.status) <> 'known';
SELECT w AS word, pg_temp.takes(w) FROM unnest(ARRAY['paid', '', 'Succeeded', 'succeeded ']) w;
