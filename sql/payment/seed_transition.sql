-- The state machine of a payment: data in C, copied here for people and queries.

CREATE TABLE payments.transition (
	from_status text NOT NULL,
	event text NOT NULL,
	to_status text NOT NULL,
	PRIMARY KEY (from_status, event)
);
COMMENT ON TABLE payments.transition IS 'the state machine of a payment, copied at install from the table in C that enforces it; changing rows here changes nothing';
COMMENT ON COLUMN payments.transition.from_status IS 'status before; empty for the first row of a payment''s history';
COMMENT ON COLUMN payments.transition.event IS 'what happened';
COMMENT ON COLUMN payments.transition.to_status IS 'status after';

CREATE FUNCTION payments._transitions(OUT from_status text, OUT event text, OUT to_status text)
	RETURNS SETOF record
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_transition_rows';
COMMENT ON FUNCTION payments._transitions() IS 'Internal: the state machine as compiled into the library.';

INSERT INTO payments.transition (from_status, event, to_status)
SELECT t.from_status, t.event, t.to_status FROM payments._transitions() t;
