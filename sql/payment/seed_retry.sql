-- When the next try comes.  Past the last row the operation is dead-lettered, or
-- failed after a soft decline.

CREATE TABLE payments.retry_schedule (
	schedule text NOT NULL,
	psp text NOT NULL DEFAULT '*',
	try int NOT NULL CONSTRAINT retry_schedule_try_positive CHECK (try > 0),
	delay interval NOT NULL CONSTRAINT retry_schedule_delay_not_negative CHECK (delay >= interval '0'),
	jitter boolean NOT NULL DEFAULT false,
	builtin boolean NOT NULL DEFAULT true,
	PRIMARY KEY (schedule, psp, try, builtin)
);
COMMENT ON TABLE payments.retry_schedule IS 'when the next try comes; your rows (builtin = false) for a schedule and PSP replace the shipped ones as a whole; past the last try the operation is dead-lettered, or failed after a soft decline';
COMMENT ON COLUMN payments.retry_schedule.schedule IS 'not_sent, unknown, pending, requires_action, soft_decline, or one that a decline_rule names';
COMMENT ON COLUMN payments.retry_schedule.psp IS 'PSP name, or * for all';
COMMENT ON COLUMN payments.retry_schedule.try IS 'from 1: the delay before this retry';
COMMENT ON COLUMN payments.retry_schedule.delay IS 'how long to wait';
COMMENT ON COLUMN payments.retry_schedule.jitter IS 'true: wait a random time between nothing and the delay';
COMMENT ON COLUMN payments.retry_schedule.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.retry_schedule', 'WHERE NOT builtin');

INSERT INTO payments.retry_schedule (schedule, try, delay, jitter)
VALUES
	-- Certainly not processed: soon again, spread out, then a person looks.
	('not_sent', 1, '1 s', true),
	('not_sent', 2, '2 s', true),
	('not_sent', 3, '4 s', true),
	('not_sent', 4, '8 s', true),
	('not_sent', 5, '16 s', true),
	('not_sent', 6, '32 s', true),
	('not_sent', 7, '60 s', true),
	('not_sent', 8, '60 s', true),
	-- Nobody knows: ask the same PSP, never give up by guessing.
	('unknown', 1, '10 s', false),
	('unknown', 2, '30 s', false),
	('unknown', 3, '1 min', false),
	('unknown', 4, '5 min', false),
	('unknown', 5, '15 min', false),
	('unknown', 6, '1 h', false),
	('unknown', 7, '6 h', false),
	('unknown', 8, '1 day', false),
	('unknown', 9, '1 day', false),
	('unknown', 10, '1 day', false),
	('unknown', 11, '1 day', false),
	('unknown', 12, '1 day', false),
	('unknown', 13, '1 day', false),
	('unknown', 14, '1 day', false),
	-- Accepted, and the result comes later, by webhook or by asking; bank debits take days.
	('pending', 1, '1 min', false),
	('pending', 2, '5 min', false),
	('pending', 3, '5 min', false),
	('pending', 4, '5 min', false),
	('pending', 5, '5 min', false),
	('pending', 6, '5 min', false),
	('pending', 7, '1 h', false),
	('pending', 8, '1 h', false),
	('pending', 9, '1 h', false),
	('pending', 10, '1 h', false),
	('pending', 11, '1 h', false),
	('pending', 12, '1 h', false),
	('pending', 13, '1 h', false),
	('pending', 14, '1 h', false),
	('pending', 15, '1 h', false),
	('pending', 16, '1 h', false),
	('pending', 17, '1 h', false),
	('pending', 18, '1 h', false),
	('pending', 19, '1 day', false),
	('pending', 20, '1 day', false),
	('pending', 21, '1 day', false),
	('pending', 22, '1 day', false),
	('pending', 23, '1 day', false),
	('pending', 24, '1 day', false),
	('pending', 25, '1 day', false),
	('pending', 26, '1 day', false),
	('pending', 27, '1 day', false),
	('pending', 28, '1 day', false),
	('pending', 29, '1 day', false),
	('pending', 30, '1 day', false),
	('pending', 31, '1 day', false),
	('pending', 32, '1 day', false),
	-- The payer must act; most do at once or never.
	('requires_action', 1, '10 min', false),
	('requires_action', 2, '1 h', false),
	('requires_action', 3, '6 h', false),
	('requires_action', 4, '1 day', false),
	('requires_action', 5, '1 day', false),
	('requires_action', 6, '1 day', false),
	('requires_action', 7, '1 day', false),
	('requires_action', 8, '1 day', false),
	('requires_action', 9, '1 day', false),
	('requires_action', 10, '1 day', false),
	-- Soft declines, off-session: at most four more in 21 days.
	('soft_decline', 1, '24 h', false),
	('soft_decline', 2, '72 h', false),
	('soft_decline', 3, '5 days', false),
	('soft_decline', 4, '7 days', false),
	-- Soft declines for which the network names an interval: within the same 21
	-- days, and never earlier than it says.
	('network_1h', 1, '1 h', false),
	('network_1h', 2, '24 h', false),
	('network_1h', 3, '72 h', false),
	('network_1h', 4, '5 days', false),
	('network_1d', 1, '24 h', false),
	('network_1d', 2, '24 h', false),
	('network_1d', 3, '72 h', false),
	('network_1d', 4, '5 days', false),
	('network_2d', 1, '2 days', false),
	('network_2d', 2, '2 days', false),
	('network_2d', 3, '5 days', false),
	('network_2d', 4, '7 days', false),
	('network_3d', 1, '3 days', false),
	('network_3d', 2, '3 days', false),
	('network_3d', 3, '5 days', false),
	('network_3d', 4, '7 days', false),
	('network_4d', 1, '4 days', false),
	('network_4d', 2, '4 days', false),
	('network_4d', 3, '5 days', false),
	('network_4d', 4, '7 days', false),
	('network_6d', 1, '6 days', false),
	('network_6d', 2, '6 days', false),
	('network_6d', 3, '6 days', false),
	('network_8d', 1, '8 days', false),
	('network_8d', 2, '8 days', false),
	('network_10d', 1, '10 days', false),
	('network_10d', 2, '10 days', false);
