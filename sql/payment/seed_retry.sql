-- When the next try comes.  Past the last row the operation is dead-lettered, or
-- failed after a soft decline.

CREATE TABLE payments.retry_schedule (
	schedule text NOT NULL,
	psp text NOT NULL DEFAULT '*',
	try int NOT NULL CONSTRAINT retry_schedule_try_positive CHECK (try > 0),
	delay interval NOT NULL CONSTRAINT retry_schedule_delay_not_negative CHECK (delay >= interval '0'),
	jitter boolean NOT NULL DEFAULT false,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (schedule, psp, try, builtin)
);
COMMENT ON TABLE payments.retry_schedule IS 'when the next try comes; your rows (builtin = false) for a schedule and PSP replace the shipped ones as a whole; past the last try the operation is dead-lettered, or failed after a soft decline';
COMMENT ON COLUMN payments.retry_schedule.schedule IS 'not_sent, unknown, pending, requires_action, authorization, soft_decline, or one that a decline_rule names';
COMMENT ON COLUMN payments.retry_schedule.psp IS 'PSP name, or * for all';
COMMENT ON COLUMN payments.retry_schedule.try IS 'from 1: the delay before this retry';
COMMENT ON COLUMN payments.retry_schedule.delay IS 'how long to wait';
COMMENT ON COLUMN payments.retry_schedule.jitter IS 'true: wait a random time between nothing and the delay';
COMMENT ON COLUMN payments.retry_schedule.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.retry_schedule', 'WHERE NOT builtin');

INSERT INTO payments.retry_schedule (schedule, try, delay, jitter, builtin)
VALUES
	-- Certainly not processed: soon again, spread out, then a person looks.
	('not_sent', 1, '1 s', true, true),
	('not_sent', 2, '2 s', true, true),
	('not_sent', 3, '4 s', true, true),
	('not_sent', 4, '8 s', true, true),
	('not_sent', 5, '16 s', true, true),
	('not_sent', 6, '32 s', true, true),
	('not_sent', 7, '60 s', true, true),
	('not_sent', 8, '60 s', true, true),
	-- Nobody knows: ask the same PSP, never give up by guessing.
	('unknown', 1, '10 s', false, true),
	('unknown', 2, '30 s', false, true),
	('unknown', 3, '1 min', false, true),
	('unknown', 4, '5 min', false, true),
	('unknown', 5, '15 min', false, true),
	('unknown', 6, '1 h', false, true),
	('unknown', 7, '6 h', false, true),
	('unknown', 8, '1 day', false, true),
	('unknown', 9, '1 day', false, true),
	('unknown', 10, '1 day', false, true),
	('unknown', 11, '1 day', false, true),
	('unknown', 12, '1 day', false, true),
	('unknown', 13, '1 day', false, true),
	('unknown', 14, '1 day', false, true),
	-- Accepted, and the result comes later, by webhook or by asking; bank debits take days.
	('pending', 1, '1 min', false, true),
	('pending', 2, '5 min', false, true),
	('pending', 3, '5 min', false, true),
	('pending', 4, '5 min', false, true),
	('pending', 5, '5 min', false, true),
	('pending', 6, '5 min', false, true),
	('pending', 7, '1 h', false, true),
	('pending', 8, '1 h', false, true),
	('pending', 9, '1 h', false, true),
	('pending', 10, '1 h', false, true),
	('pending', 11, '1 h', false, true),
	('pending', 12, '1 h', false, true),
	('pending', 13, '1 h', false, true),
	('pending', 14, '1 h', false, true),
	('pending', 15, '1 h', false, true),
	('pending', 16, '1 h', false, true),
	('pending', 17, '1 h', false, true),
	('pending', 18, '1 h', false, true),
	('pending', 19, '1 day', false, true),
	('pending', 20, '1 day', false, true),
	('pending', 21, '1 day', false, true),
	('pending', 22, '1 day', false, true),
	('pending', 23, '1 day', false, true),
	('pending', 24, '1 day', false, true),
	('pending', 25, '1 day', false, true),
	('pending', 26, '1 day', false, true),
	('pending', 27, '1 day', false, true),
	('pending', 28, '1 day', false, true),
	('pending', 29, '1 day', false, true),
	('pending', 30, '1 day', false, true),
	('pending', 31, '1 day', false, true),
	('pending', 32, '1 day', false, true),
	-- The payer must act; most do at once or never.
	('requires_action', 1, '10 min', false, true),
	('requires_action', 2, '1 h', false, true),
	('requires_action', 3, '6 h', false, true),
	('requires_action', 4, '1 day', false, true),
	('requires_action', 5, '1 day', false, true),
	('requires_action', 6, '1 day', false, true),
	('requires_action', 7, '1 day', false, true),
	('requires_action', 8, '1 day', false, true),
	('requires_action', 9, '1 day', false, true),
	('requires_action', 10, '1 day', false, true),
	-- An authorization whose time is over, and the PSP holds it still.
	('authorization', 1, '1 h', false, true),
	('authorization', 2, '6 h', false, true),
	('authorization', 3, '1 day', false, true),
	('authorization', 4, '1 day', false, true),
	('authorization', 5, '1 day', false, true),
	('authorization', 6, '1 day', false, true),
	('authorization', 7, '1 day', false, true),
	('authorization', 8, '1 day', false, true),
	('authorization', 9, '1 day', false, true),
	-- Soft declines, off-session: at most four more in 21 days.
	('soft_decline', 1, '24 h', false, true),
	('soft_decline', 2, '72 h', false, true),
	('soft_decline', 3, '5 days', false, true),
	('soft_decline', 4, '7 days', false, true),
	-- Soft declines for which the network names an interval: within the same 21
	-- days, and never earlier than it says.
	('network_1h', 1, '1 h', false, true),
	('network_1h', 2, '24 h', false, true),
	('network_1h', 3, '72 h', false, true),
	('network_1h', 4, '5 days', false, true),
	('network_1d', 1, '24 h', false, true),
	('network_1d', 2, '24 h', false, true),
	('network_1d', 3, '72 h', false, true),
	('network_1d', 4, '5 days', false, true),
	('network_2d', 1, '2 days', false, true),
	('network_2d', 2, '2 days', false, true),
	('network_2d', 3, '5 days', false, true),
	('network_2d', 4, '7 days', false, true),
	('network_3d', 1, '3 days', false, true),
	('network_3d', 2, '3 days', false, true),
	('network_3d', 3, '5 days', false, true),
	('network_3d', 4, '7 days', false, true),
	('network_4d', 1, '4 days', false, true),
	('network_4d', 2, '4 days', false, true),
	('network_4d', 3, '5 days', false, true),
	('network_4d', 4, '7 days', false, true),
	('network_6d', 1, '6 days', false, true),
	('network_6d', 2, '6 days', false, true),
	('network_6d', 3, '6 days', false, true),
	('network_8d', 1, '8 days', false, true),
	('network_8d', 2, '8 days', false, true),
	('network_10d', 1, '10 days', false, true),
	('network_10d', 2, '10 days', false, true);
