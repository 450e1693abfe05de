-- What a person decides about a discrepancy.  One, here and below, is a row of
-- discrepancy_found, which is no type yet when the extension is created.

CREATE FUNCTION payments._discrepancy_account(_merchant text, _code text, _currency text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	account bigint;
BEGIN
	INSERT INTO payments.account (merchant, code, currency, type, hot, min_balance, max_balance,
		from_template)
	SELECT _merchant, _code, _currency, t.type, t.hot, t.min_balance, t.max_balance, true
	FROM payments._template_of(_code) t
	ON CONFLICT ON CONSTRAINT account_once DO NOTHING;
	SELECT a.account_id INTO account
	FROM payments.account a
	WHERE a.merchant = _merchant AND a.code = _code AND a.currency = _currency
	ORDER BY a.from_template DESC LIMIT 1;
	IF account IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = format(
				'merchant "%s" has no account "%s" in currency "%s"', _merchant, _code, _currency),
			HINT = 'Create it with payments.create_account(), or name another.';
	END IF;
	RETURN account;
END
$$;
COMMENT ON FUNCTION payments._discrepancy_account(text, text, text) IS 'Internal: an account by its code, opened by its template if it has one. Raises PY610.';

CREATE FUNCTION payments._act_for_all(deciding boolean) RETURNS void
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_act_for_all';
COMMENT ON FUNCTION payments._act_for_all(boolean) IS
'Internal: while true, verbs act for every merchant, as an operator''s decision must; ends with false, an error, or the transaction.';

-- Brings our books to what they say, against an account that takes the difference.
CREATE FUNCTION payments._discrepancy_adjust(
	_found record, _seq int, _account text, _merchant text, OUT reference text, OUT amount bigint
) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	currency text;
	ours text;
	other text;
	sign int;
	debit bigint;
	credit bigint;
BEGIN
	currency := coalesce(_found.their_currency, _found.our_currency);
	other := coalesce(
		_account,
		CASE _found.kind
			WHEN 'fee' THEN 'psp_fees'
			WHEN 'unmatched_bank' THEN 'suspense'
			ELSE 'psp_adjustments'
		END);
	sign := CASE WHEN _found.movement_kind IN ('refund', 'dispute', 'fee') THEN -1 ELSE 1 END;
	IF _found.kind IN ('late', 'currency')
		OR _found.kind NOT IN ('payout', 'payout_missing', 'unmatched_bank')
			AND _found.our_currency <> _found.their_currency
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = format('a discrepancy of kind "%s" is not adjusted by one posting', _found.kind),
			HINT = 'Post what is right with payments.post() or payments.exchange(), and accept it with the '
				'reference as reason.';
	ELSIF _found.kind IN ('status', 'unknown_line', 'doubtful_line', 'payout_twice', 'payout_turned',
		'payout_returned', 'statement_overlap')
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = format('a discrepancy of kind "%s" is not adjusted', _found.kind),
			HINT = 'Of a payment that we know, and of a payout that has gone again, use link; what an '
				'unknown line has moved stands in suspense already, and what may be booked twice is booked: '
				'post it from there and accept.';
	END IF;
	-- By how much our side has too little.
	amount := (coalesce(_found.theirs, 0) - coalesce(_found.ours, 0)) * sign;
	IF _found.kind = 'unmatched_bank' THEN
		-- Of an entry that brought a payout as well, what is left.
		SELECT e.left_over INTO amount
		FROM payments._bank_open(_found.psp) e
		WHERE e.batch_id = _found.batch_id
		AND e.statement_no = _found.statement_no
		AND e.entry_no = _found.entry_no;
		IF amount IS NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'PY610',
				MESSAGE = 'nothing is left of the entry of the bank',
				HINT = 'SELECT * FROM payments.bank_match; says which payouts it brought.';
		END IF;
	END IF;
	IF _found.kind = 'payout' THEN
		amount := coalesce(_found.theirs, 0) - coalesce(_found.ours, 0);
	ELSIF _found.kind = 'payout_missing' THEN
		amount := - amount;
	END IF;
	ours := CASE _found.kind
		WHEN 'unmatched_bank' THEN 'bank:' || _found.psp
		WHEN 'payout_missing' THEN 'payout_clearing:' || _found.psp
		ELSE 'psp_receivable:' || _found.psp
	END;
	debit := payments._discrepancy_account(
		_merchant, CASE WHEN amount > 0 THEN ours ELSE other END, currency);
	credit := payments._discrepancy_account(
		_merchant, CASE WHEN amount > 0 THEN other ELSE ours END, currency);
	reference := format('discrepancy:%s:%s', _found.discrepancy_id, _seq);
	PERFORM payments._post_own(debit, credit, abs(amount), reference,
		format('%s of %s', replace(_found.kind, '_', ' '), _found.psp), 'adjustment');
END
$$;
COMMENT ON FUNCTION payments._discrepancy_adjust(record, int, text, text) IS
'Internal: posts the difference between our side''s account and another. amount: on our side, minor units. Raises PY610, and what post() raises.';

CREATE FUNCTION payments._discrepancy_unadjust(_found record, _last record, _why text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	posting bigint;
	m payments.bank_match;
BEGIN
	IF _last.action = 'adjust' THEN
		SELECT r.posting_id INTO posting
		FROM payments.posting_reference r
		WHERE r.merchant = '' AND r.reference = _last.reference;
		PERFORM payments._reverse_own(posting, _why);
	ELSIF _last.action = 'link' AND _found.kind IN ('unmatched_bank', 'payout_returned') THEN
		PERFORM payments._payouts_turn();
		FOR m IN
			SELECT x.*
			FROM payments.bank_match x
			WHERE x.batch_id = _found.batch_id
			AND x.statement_no = _found.statement_no
			AND x.entry_no = _found.entry_no
			AND x.payout_ref = _last.reference
			AND x.rule = 'link'
			ORDER BY x.bank_match_id DESC LIMIT 1
		LOOP
			PERFORM payments._bank_link(_found, m.psp, m.payout_ref, - m.amount, 'unlink');
		END LOOP;
	END IF;
END
$$;
COMMENT ON FUNCTION payments._discrepancy_unadjust(record, record, text) IS 'Internal: takes back what a resolution has posted or linked.';

CREATE FUNCTION payments._bank_link(
	_found record, _psp text, _payout text, _amount bigint, _rule text
) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id bigint;
BEGIN
	INSERT INTO payments.bank_match (batch_id, statement_no, entry_no, psp, payout_ref, currency, amount,
		rule, matched_at, matched_by)
	VALUES (_found.batch_id, _found.statement_no, _found.entry_no, _psp, _payout, _found.their_currency,
		_amount, _rule, clock_timestamp(), payments._caller())
	RETURNING bank_match_id INTO id;
	PERFORM payments._bank_post(id);
END
$$;
COMMENT ON FUNCTION payments._bank_link(record, text, text, bigint, text) IS 'Internal: a match made or taken back by a person of the entry that was found, with its posting.';

CREATE FUNCTION payments._discrepancy_link(_found record, _payment uuid, _payout text) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p record;
	open_amount bigint;
	object text;
	moved bigint;
	a record;
BEGIN
	IF _found.kind = 'unmatched_bank' THEN
		PERFORM payments._payouts_turn();
		SELECT x.* INTO p
		FROM payments._payouts_open() x
		WHERE x.payout_ref = _payout AND x.currency = _found.their_currency;
		SELECT e.left_over INTO open_amount
		FROM payments._bank_open(_found.psp) e
		WHERE e.batch_id = _found.batch_id
		AND e.statement_no = _found.statement_no
		AND e.entry_no = _found.entry_no;
		IF p.psp IS NULL OR open_amount IS NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'PY610',
				MESSAGE = format(
					'open payout "%s" in currency "%s" does not exist, or nothing is left of the entry',
					_payout, _found.their_currency),
				HINT = 'SELECT * FROM payments.payout_status WHERE missing > 0; lists the payouts.';
		END IF;
		PERFORM payments._bank_link(_found, p.psp, p.payout_ref, least(open_amount, p.left_over), 'link');
		RETURN p.payout_ref;
	ELSIF _found.kind = 'payout_returned' THEN
		PERFORM payments._payouts_turn();
		SELECT m.psp, m.payout_ref, sum(m.amount)::bigint AS matched INTO p
		FROM payments.bank_match m
		WHERE m.payout_ref = coalesce(_payout, _found.payout_ref) AND m.currency = _found.their_currency
		GROUP BY m.psp, m.payout_ref
		HAVING sum(m.amount) > 0
		ORDER BY m.psp LIMIT 1;
		IF p.psp IS NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'PY610',
				MESSAGE = format('payout "%s" in currency "%s" is not at the bank',
					coalesce(_payout, _found.payout_ref), _found.their_currency),
				HINT = 'SELECT * FROM payments.payout_status WHERE at_bank > 0; lists the payouts.';
		END IF;
		PERFORM payments._bank_link(
			_found, p.psp, p.payout_ref, - least(- _found.theirs, p.matched), 'link');
		RETURN p.payout_ref;
	ELSIF _found.kind NOT IN ('missing_here', 'status', 'duplicate') OR _payment IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = 'only a movement that is missing here can be linked to a payment, and a bank '
				'entry to a payout',
			HINT = 'Pass payment_id => ..., or payout => ... for an entry of a bank.';
	END IF;
	SELECT l.object_id,
		l.theirs
			+ coalesce(
				(
					SELECT sum(x.theirs)
					FROM payments._payment_lines(_found.psp, ARRAY[_payment], l.kind, l.movement_kind) x
					WHERE x.theirs < 0 AND l.theirs > 0
				),
				0)
	INTO object, moved
	FROM payments._lines_meant(_found.psp, ARRAY[_found.batch_id], ARRAY[_found.line_no]) l;
	IF NOT EXISTS (SELECT FROM payments.payment x WHERE x.payment_id = _payment AND x.psp = _found.psp)
		OR object IS NULL
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = format(
				'payment %s does not exist or is of another PSP, or the line names no object', _payment),
			HINT = 'Look at payments.settlement_line.';
	END IF;
	SELECT x.* INTO a
	FROM payments._settlement_apply(_found.psp, ARRAY[_found.batch_id], ARRAY[_found.line_no],
		ARRAY[_payment], ARRAY[object], ARRAY[moved], ARRAY[true], true) x;
	IF NOT EXISTS (
		SELECT FROM payments.movement m
		WHERE m.psp = _found.psp AND m.object_id = object AND m.payment_id = _payment
	) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = format('the payment does not take it: it is %s', coalesce(a.status, 'of another sign')),
			HINT = 'payments.exception may say more; amount and currency must be the payment''s.';
	END IF;
	RETURN a.status;
END
$$;
COMMENT ON FUNCTION payments._discrepancy_link(record, uuid, text) IS
'Internal: lets a line be about a payment, through apply_psp_result(), or an entry of a bank about a payout. Raises PY610.';

-- Whose money a charge is that no payment tells of: what is guessed wrong is paid out to another.
CREATE FUNCTION payments._discrepancy_merchant(_psp text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	house text := (
		SELECT m.merchant
		FROM payments.psp p
		JOIN payments.merchant m ON m.merchant = p.config ->> 'merchant'
		WHERE p.psp = _psp
	);
	served text[];
BEGIN
	IF house IS NOT NULL THEN
		RETURN house;
	END IF;
	SELECT array_agg(s.merchant ORDER BY s.merchant) INTO served
	FROM (
		SELECT m.merchant FROM payments.merchant m WHERE m.psp = _psp
		UNION
		SELECT p.merchant FROM payments.payment p WHERE p.psp = _psp
	) s;
	IF served IS NULL THEN
		served := ARRAY(SELECT m.merchant FROM payments.merchant m ORDER BY m.merchant);
	END IF;
	IF cardinality(served) <> 1 THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = format('merchant is needed: the charge may be of any that PSP "%s" serves', _psp),
			DETAIL = format('These are %s%s.', array_to_string(served[1:10], ', '),
				CASE WHEN cardinality(served) > 10 THEN ' and others' END),
			HINT = 'Pass merchant => ..., or name in psp.config, as "merchant", whose all such lines are.';
	END IF;
	RETURN served[1];
END
$$;
COMMENT ON FUNCTION payments._discrepancy_merchant(text) IS
'Internal: the merchant for whom a payment is made of a charge that is missing here: that of psp.config, else the only one that has payments at the PSP or uses it by default, else the only one there is. Raises 22023 where there are several.';

-- A payment for money that the PSP has taken and nobody here knows of.
CREATE FUNCTION payments._discrepancy_create(_found record, _merchant text) RETURNS uuid
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	l payments.settlement_line;
	payment uuid;
BEGIN
	IF _found.kind NOT IN ('missing_here', 'duplicate')
		OR _found.movement_kind <> 'capture'
		OR _found.theirs <= 0
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = 'only a charge that is missing here, or a second one, can be made a payment',
			HINT = 'Use link, adjust or accept.';
	END IF;
	IF _found.object_id IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = format(
				'line %s of batch %s has no id by which the PSP knows the charge: it may be booked already',
				_found.line_no, _found.batch_id),
			HINT = 'Look for it among the payments of that day; accept it if it is there, else adjust.';
	END IF;
	SELECT x.* INTO STRICT l
	FROM payments.settlement_line x
	WHERE x.batch_id = _found.batch_id AND x.line_no = _found.line_no;
	IF EXISTS (
		SELECT FROM payments.movement m
		WHERE m.psp = _found.psp AND m.object_id = _found.object_id AND m.kind IN ('capture', 'late_capture')
	) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = 'the PSP booked the same object twice, and one payment has it already',
			HINT = 'Ask the PSP, then adjust or accept.';
	END IF;
	IF _merchant IS NULL THEN
		_merchant := payments._discrepancy_merchant(_found.psp);
	END IF;
	-- Queued and completed in this transaction: nothing is ever sent for it.
	SELECT c.payment_id INTO payment
	FROM payments.create_payment(
		idempotency_key => format('payments:adopted:%s:%s', _found.psp, _found.object_id),
		amount => _found.theirs, currency => _found.their_currency, merchant => _merchant,
		psp => _found.psp, order_ref => left(l.reference, 255),
		description => left(
			format('adopted from settlement batch %s, line %s', _found.batch_id, _found.line_no), 1000)) c;
	PERFORM payments._discrepancy_link(_found, payment, NULL);
	RETURN payment;
END
$$;
COMMENT ON FUNCTION payments._discrepancy_create(record, text) IS
'Internal: makes a payment that is captured from the first moment, through apply_psp_result(). Raises PY610, and what create_payment() raises.';

CREATE FUNCTION payments.resolve_discrepancy(
	discrepancy_id bigint, action text, reason text, account text DEFAULT NULL, payment_id uuid DEFAULT NULL,
	payout text DEFAULT NULL, merchant text DEFAULT NULL, OUT status text, OUT seq int
) RETURNS record
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	d payments.discrepancy_found;
	last payments.discrepancy_resolution;
	who text := payments._caller();
	whose text;
	reference text;
	amount bigint;
	payment uuid := resolve_discrepancy.payment_id;
	is_open boolean;
BEGIN
	PERFORM payments._refuse_card_numbers(
		'action', resolve_discrepancy.action, 'reason', resolve_discrepancy.reason,
		'account', resolve_discrepancy.account, 'payout', resolve_discrepancy.payout,
		'merchant', resolve_discrepancy.merchant);
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	IF resolve_discrepancy.action IS NULL
		OR resolve_discrepancy.action NOT IN (
			'accept', 'adjust', 'refund', 'create', 'link', 'ignore', 'reopen')
	THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = format('action "%s" does not exist', resolve_discrepancy.action),
			HINT = 'Use accept, adjust, refund, create, link, ignore or reopen; to wait, do nothing.';
	ELSIF resolve_discrepancy.reason IS NULL OR resolve_discrepancy.reason !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'a decision needs a reason',
			HINT = 'Say why, for whoever reads it in a year.';
	END IF;
	SELECT f.* INTO d
	FROM payments.discrepancy_found f
	WHERE f.discrepancy_id = resolve_discrepancy.discrepancy_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY609',
			MESSAGE = format('discrepancy %s does not exist', resolve_discrepancy.discrepancy_id),
			HINT = 'SELECT * FROM payments.discrepancy WHERE status = ''open''; lists them.';
	END IF;
	-- Nobody else decides, and no run, while we do.
	PERFORM payments._settlement_turn(d.psp);
	SELECT r.* INTO last
	FROM payments.discrepancy_resolution r
	WHERE r.discrepancy_id = d.discrepancy_id
	ORDER BY r.seq DESC LIMIT 1;
	seq := coalesce(last.seq, 0) + 1;
	is_open := last.action IS NULL OR last.action IN ('reopen', 'found_again');
	IF is_open AND resolve_discrepancy.action = 'reopen'
		OR NOT is_open AND resolve_discrepancy.action <> 'reopen'
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = format('discrepancy %s is %s', d.discrepancy_id,
				CASE WHEN is_open THEN 'open' ELSE 'resolved: ' || last.action END),
			HINT = CASE
				WHEN is_open THEN 'Only what was resolved can be reopened.'
				ELSE 'Take that back first, with action => ''reopen''.'
			END;
	ELSIF resolve_discrepancy.action = 'reopen' AND last.action IN ('create', 'refund', 'applied')
		OR resolve_discrepancy.action = 'reopen'
			AND last.action = 'link'
			AND d.kind NOT IN ('unmatched_bank', 'payout_returned')
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY610',
			MESSAGE = format('discrepancy %s has moved money of a payment, which stays', d.discrepancy_id),
			HINT = 'Refund the payment, or post what is right with payments.post().';
	END IF;
	SELECT coalesce(
		resolve_discrepancy.merchant,
		(SELECT p.merchant FROM payments.payment p WHERE p.payment_id = d.payment_id))
	INTO whose;
	PERFORM payments._act_for_all(true);
	CASE resolve_discrepancy.action
		WHEN 'adjust' THEN
			SELECT a.reference, a.amount INTO reference, amount
			FROM payments._discrepancy_adjust(d, seq, resolve_discrepancy.account,
				-- Where the files' lines are posted that name no payment.
				coalesce(whose, payments._settlement_house(d.psp))) a;
		WHEN 'link' THEN
			reference := payments._discrepancy_link(
				d, coalesce(payment, d.payment_id), resolve_discrepancy.payout);
			payment := coalesce(payment, d.payment_id);
		WHEN 'create' THEN
			payment := payments._discrepancy_create(d, whose);
		WHEN 'refund' THEN
			payment := payments._discrepancy_create(d, whose);
			reference := format('discrepancy:%s:%s', d.discrepancy_id, seq);
			amount := d.theirs;
			PERFORM payments.refund_payment(payment_id => payment,
				idempotency_key => 'payments:' || reference,
				reason => CASE d.kind WHEN 'duplicate' THEN 'duplicate' END);
		WHEN 'reopen' THEN
			PERFORM payments._discrepancy_unadjust(d, last, resolve_discrepancy.reason);
		ELSE NULL;
	END CASE;
	PERFORM payments._act_for_all(false);
	INSERT INTO payments.discrepancy_resolution (discrepancy_id, seq, action, reason, payment_id, reference,
		amount, actor, recorded_at)
	VALUES (d.discrepancy_id, resolve_discrepancy.seq, resolve_discrepancy.action, resolve_discrepancy.reason,
		payment, reference, amount, who, clock_timestamp());
	status := CASE resolve_discrepancy.action WHEN 'reopen' THEN 'open' ELSE resolve_discrepancy.action END;
END
$$;
COMMENT ON FUNCTION payments.resolve_discrepancy(bigint, text, text, text, uuid, text, text) IS
'Decides about a discrepancy, with a reason; the decision is a row of discrepancy_resolution, and "reopen" takes it back by a further one. accept: it is right as it is. ignore: it is no business of ours. adjust: posts the difference against account (default psp_fees for fees, suspense for entries of a bank, else psp_adjustments). link: the line is about payment_id, the bank''s entry is payout. create: makes a payment of merchant for a charge that is missing here; nothing is charged. merchant may be left out where it is that of the payment or of psp.config, or the PSP serves no other. refund: the same, and gives the money back through the PSP. reopen: an adjustment is reversed, a bank link undone; money of payments stays. Raises PY609 (no such discrepancy), PY610 (not possible in this state), 22023, and what posting and refunding raise.';
