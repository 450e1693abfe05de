-- If this fails, a webhook that nobody signed, or that is not one, is let in,
-- or makes the endpoint fail in a way that the PSP repeats for days.
-- What needs a secret (the signature itself, duplicates, effects) is in test/t.

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

SELECT payments.create_psp('hook', 'stripe', secret => 'regress_no_such_secret');
SELECT payments.create_psp('hook_without_secret', 'stripe');

SELECT what, pg_temp.attempt('SELECT payments.receive_webhook(' || args || ')') AS outcome
FROM (VALUES
	(1, 'unknown PSP', $$'nowhere', '{}', '{}'$$),
	(2, 'sends none', $$'sandbox', '{}', '{}'$$),
	(3, 'no psp', $$NULL, '{}', '{}'$$),
	(4, 'no headers', $$'hook', NULL, '{}'$$),
	(5, 'no body', $$'hook', '{}', NULL$$),
	(6, 'no secret configured', $$'hook_without_secret', '{"Stripe-Signature": "t=1,v1=00"}', '{}'$$),
	(7, 'not signed', $$'hook', '{}', '{}'$$),
	(8, 'headers are a list', $$'hook', '["Stripe-Signature"]', '{}'$$),
	(9, 'signature is a number', $$'hook', '{"Stripe-Signature": 7}', '{}'$$),
	(10, 'signature is a list', $$'hook', '{"Stripe-Signature": ["t=1,v1=00"]}', '{}'$$),
	(11, 'signed twice', $$'hook', '{"Stripe-Signature": "t=1,v1=00", "stripe-signature": "t=1,v1=00"}', '{}'$$),
	(12, 'secret not in the file', $$'hook', '{"STRIPE-SIGNATURE": "t=1,v1=00"}', '{}'$$),
	(13, 'too large', $$'hook', '{"Stripe-Signature": "t=1,v1=00"}', convert_to(repeat('x', 1048577), 'UTF8')$$),
	(14, '10 MB', $$'hook', '{"Stripe-Signature": "t=1,v1=00"}', convert_to(repeat('x', 10485760), 'UTF8')$$)
) t (n, what, args) ORDER BY n;

-- Nothing of it was kept.
SELECT count(*) FROM payments.psp_event WHERE psp LIKE 'hook%';
