-- Jobs that come back by the clock: the table of them, and what a cron
-- schedule means.  They run by pg_cron (job/schedule.sql), by another scheduler
-- or by hand (job/run.sql).

CREATE FUNCTION payments._cron_field(_field text, _low int, _high int, _names text[]) RETURNS int[]
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	part text;
	m text[];
	first int;
	last int;
	found int[] := '{}';
BEGIN
	FOREACH part IN ARRAY coalesce(string_to_array(lower(_field), ','), '{""}') LOOP
		m := regexp_match(
			part, '^(?:([*])|([a-z]{3}|[0-9]{1,2})(?:-([a-z]{3}|[0-9]{1,2}))?)(?:/([0-9]{1,2}))?$');
		IF m IS NULL OR (m[4] IS NOT NULL AND (m[4]::int = 0 OR m[1] IS NULL AND m[3] IS NULL)) THEN
			RETURN NULL;
		END IF;
		first := CASE
			WHEN m[1] IS NOT NULL THEN _low
			WHEN m[2] ~ '[0-9]' THEN m[2]::int
			ELSE array_position(_names, m[2]) - 1 + _low
		END;
		last := CASE
			WHEN m[1] IS NOT NULL THEN _high
			WHEN m[3] IS NULL THEN first
			WHEN m[3] ~ '[0-9]' THEN m[3]::int
			ELSE array_position(_names, m[3]) - 1 + _low
		END;
		IF first IS NULL OR last IS NULL OR first < _low OR last > _high OR first > last THEN
			RETURN NULL;
		END IF;
		found := found || ARRAY(SELECT generate_series(first, last, coalesce(m[4]::int, 1)));
	END LOOP;
	RETURN found;
END
$$;
COMMENT ON FUNCTION payments._cron_field(text, int, int, text[]) IS
'Internal: the numbers that one field of a cron schedule stands for; null when it is none.';

-- pg_cron 1.4 reads schedules in UTC, to the minute.  It can be asked neither what a schedule means nor when it comes next,
-- and need not be there at all; yet of a job that should have run and did not it must be said (schedule_status).  That
-- is why this is our own.
CREATE FUNCTION payments._cron_next(_schedule text, _moment timestamptz) RETURNS timestamptz
	LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- Eight years hold a 29th of February, over 2100 too.
	days_max CONSTANT int := 3000;
	field text[] := regexp_split_to_array(
		btrim(
			CASE lower(btrim(_schedule))
				WHEN '@yearly' THEN '0 0 1 1 *'
				WHEN '@annually' THEN '0 0 1 1 *'
				WHEN '@monthly' THEN '0 0 1 * *'
				WHEN '@weekly' THEN '0 0 * * 0'
				WHEN '@daily' THEN '0 0 * * *'
				WHEN '@midnight' THEN '0 0 * * *'
				WHEN '@hourly' THEN '0 * * * *'
				ELSE _schedule
			END),
		'[[:space:]]+');
	minutes int[];
	hours int[];
	month_days int[];
	months int[];
	week_days int[];
	either boolean;
	first timestamp := date_trunc('minute', _moment AT TIME ZONE 'UTC') + interval '1 minute';
	day date := (date_trunc('minute', _moment AT TIME ZONE 'UTC') + interval '1 minute')::date;
	minute_of_day int;
	by_month boolean;
	by_week boolean;
BEGIN
	IF lower(btrim(_schedule)) = '@reboot' THEN
		RETURN CASE
			WHEN pg_postmaster_start_time() > _moment THEN pg_postmaster_start_time()
			ELSE 'infinity'
		END;
	END IF;
	minutes := payments._cron_field(field[1], 0, 59, '{}');
	hours := payments._cron_field(field[2], 0, 23, '{}');
	month_days := payments._cron_field(field[3], 1, 31, '{}');
	months := payments._cron_field(field[4], 1, 12, '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}');
	week_days := payments._cron_field(field[5], 0, 7, '{sun,mon,tue,wed,thu,fri,sat}');
	IF array_length(field, 1) <> 5
		OR minutes IS NULL
		OR hours IS NULL
		OR month_days IS NULL
		OR months IS NULL
		OR week_days IS NULL THEN
		-- The message repeats it.
		PERFORM payments._refuse_card_numbers('schedule', _schedule);
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = format('"%s" is not a cron schedule', _schedule),
			HINT = 'Write five fields, minute, hour, day, month and day of the week, in UTC, such as "17 3 * '
				'* *".';
	END IF;
	-- cron's own rule: of the day of the month and that of the week either will do, unless one is a star.
	either := left(field[3], 1) <> '*' AND left(field[5], 1) <> '*';
	FOR i IN 0 .. days_max LOOP
		by_month := extract(day FROM day) = ANY (month_days);
		by_week := extract(dow FROM day) = ANY (week_days) OR extract(isodow FROM day) = ANY (week_days);
		IF extract(month FROM day) = ANY (months)
			AND (by_month AND by_week OR either AND (by_month OR by_week)) THEN
			SELECT min(h * 60 + m) INTO minute_of_day
			FROM unnest(hours) h, unnest(minutes) m
			WHERE i > 0 OR h * 60 + m >= extract(hour FROM first) * 60 + extract(minute FROM first);
			IF minute_of_day IS NOT NULL THEN
				RETURN (day + make_interval(mins => minute_of_day)) AT TIME ZONE 'UTC';
			END IF;
		END IF;
		day := day + 1;
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION payments._cron_next(text, timestamptz) IS
'Internal: the first time after moment that a cron schedule names, in UTC; infinity: at the next start of the server; null for one that never comes. Raises 22023.';

CREATE TABLE payments.job (
	job text NOT NULL CONSTRAINT job_name_simple CHECK (job ~ '^[a-z][a-z0-9_]{0,29}$'),
	schedule text NOT NULL CONSTRAINT job_schedule_comes CHECK (payments._cron_next(schedule, '2026-01-01 00:00:00+00') IS NOT NULL),
	command text NOT NULL CONSTRAINT job_command_is_a_function CHECK (command ~ '^[a-z_][a-z0-9_]*[.][a-z_][a-z0-9_]*$'),
	arguments jsonb NOT NULL DEFAULT '{}' CONSTRAINT job_arguments_are_named CHECK (jsonb_typeof(arguments) = 'object'),
	catch_up text NOT NULL DEFAULT 'once' CONSTRAINT job_catch_up_known CHECK (catch_up IN ('once', 'batches', 'watermark', 'periods')),
	period interval CONSTRAINT job_period_positive CHECK (period > interval '0'),
	delay interval NOT NULL DEFAULT '0' CONSTRAINT job_delay_not_negative CHECK (delay >= interval '0'),
	alone boolean NOT NULL DEFAULT false CONSTRAINT job_alone_is_once CHECK (NOT alone OR catch_up = 'once'),
	max_steps int NOT NULL DEFAULT 10000 CONSTRAINT job_max_steps_positive CHECK (max_steps > 0),
	enabled boolean NOT NULL DEFAULT true,
	description text,
	added_at timestamptz DEFAULT now(),
	builtin boolean NOT NULL DEFAULT false,
	written_by name NOT NULL DEFAULT current_user,
	PRIMARY KEY (job, builtin),
	CONSTRAINT job_period_of_periods CHECK ((period IS NOT NULL) = (catch_up = 'periods'))
);
COMMENT ON TABLE payments.job IS 'what is to run by the clock; a row of yours (builtin = false) with the same name wins over a shipped one. SELECT payments.schedule_jobs() tells pg_cron of changes';
COMMENT ON COLUMN payments.job.job IS 'name, for run_job()';
COMMENT ON COLUMN payments.job.schedule IS 'cron schedule, in UTC: minute, hour, day of the month, month, day of the week; or @hourly, @daily, @weekly, @monthly, @yearly, @reboot';
COMMENT ON COLUMN payments.job.command IS 'schema.function: one that a shipped job runs; or, in a schema in which nobody else may create one, one that belongs to the role that runs the job, or that a superuser has given to payments_owner, if that role or a superuser has written the row. Superusers run shipped rows only';
COMMENT ON COLUMN payments.job.arguments IS 'arguments by name, besides those that catch_up gives';
COMMENT ON COLUMN payments.job.catch_up IS 'how a run goes on, each call a transaction. once: one call does all that was missed. batches: calls until it returns 0. watermark: calls with watermark => what the last call returned, until it says done. periods: one call with from_time and to_time for each period that is over';
COMMENT ON COLUMN payments.job.period IS 'of catch_up periods: length of one; they begin at whole days, hours or months of UTC';
COMMENT ON COLUMN payments.job.delay IS 'of catch_up periods: how long after its end a period is left alone, since its data may still come';
COMMENT ON COLUMN payments.job.alone IS 'of catch_up once: called without a subtransaction around it, for functions that refuse a transaction block; an error then stands in pg_cron''s log or the server''s alone, and the run counts as killed';
COMMENT ON COLUMN payments.job.max_steps IS 'calls in one run at most; the next run goes on';
COMMENT ON COLUMN payments.job.enabled IS 'false: not scheduled; run_job() still runs it';
COMMENT ON COLUMN payments.job.description IS 'what it is for';
COMMENT ON COLUMN payments.job.added_at IS 'when the row was made: what was due before was not missed; null of shipped ones: when setup() was run';
COMMENT ON COLUMN payments.job.builtin IS 'shipped with the extension';
COMMENT ON COLUMN payments.job.written_by IS 'role that wrote the row last; of a superuser''s writing, what he says, so that a dump keeps it. A function that is not shipped runs for that role only, or for anybody when it is a superuser';

-- Odd minutes: everybody's cron jobs run at the full hour.
-- Closing freezes, and retiring removes: neither can be taken back, so somebody
-- has to say it (docs/close.md, docs/retention.md).
INSERT INTO payments.job (job, schedule, command, arguments, catch_up, period, delay, alone, max_steps, enabled, description, added_at, builtin) VALUES
	('check', '17 3 * * *', 'payments.check', '{}', 'once', NULL, '0', false, 1, true, 'looks for violations of every promise', NULL, true),
	('verify', '47 2 * * *', 'payments._job_verify', '{"blocks": 1000}', 'watermark', NULL, '0', false, 10000, true, 'compares the rows of new seal blocks with their seals', NULL, true),
	('verify_all', '47 4 1 * *', 'payments._job_verify', '{"blocks": 1000, "whole": true}', 'watermark', NULL, '0', false, 10000, true, 'compares all sealed rows with their seals', NULL, true),
	('reconcile', '57 5 * * *', 'payments._job_reconcile', '{"days": 45}', 'watermark', NULL, '0', false, 100000, true, 'compares what PSPs and banks say of the last 45 days with our books', NULL, true),
	-- The worker does these by itself; here for databases without one.
	('make_partitions', '27 0 * * *', 'payments.make_partitions', '{"ahead": "3 months"}', 'once', NULL, '0', false, 1, true, 'makes the coming months'' partitions, should the worker not', NULL, true),
	('seal_blocks', '*/10 * * * *', 'payments.seal_blocks', '{}', 'batches', NULL, '0', false, 100, true, 'seals new rows, should the worker not', NULL, true),
	('fold_hot_accounts', '*/10 * * * *', 'payments.fold_hot_accounts', '{}', 'batches', NULL, '0', false, 100, true, 'folds what was posted to hot accounts, should the worker not', NULL, true),
	('release_expired_holds', '*/10 * * * *', 'payments.release_expired_holds', '{}', 'batches', NULL, '0', false, 100, true, 'gives back expired holds, should the worker not', NULL, true),
	('purge_job_run', '37 1 * * *', 'payments._purge_job_run', '{"keep": "90 days"}', 'batches', NULL, '0', false, 10000, true, 'removes old rows of job_run', NULL, true),
	-- Every day, though it has something to do once a month: what could not be closed is tried again.
	('close_month', '57 4 * * *', 'payments._job_close', '{}', 'periods', '1 month', '3 days', false, 100, false, 'closes the books of all merchants for each month, three days after its end', NULL, true),
	('retire_posting', '27 4 2 * *', 'payments.retire_partitions', '{"table_name": "posting", "older_than": "10 years"}', 'once', NULL, '0', true, 1, false, 'takes old months out of posting', NULL, true),
	('retire_payment_status', '27 4 3 * *', 'payments.retire_partitions', '{"table_name": "payment_status", "older_than": "3 years"}', 'once', NULL, '0', true, 1, false, 'takes old months out of payment_status', NULL, true),
	('retire_event', '27 4 4 * *', 'payments.retire_partitions', '{"table_name": "event", "older_than": "1 year"}', 'once', NULL, '0', true, 1, false, 'takes old months out of event', NULL, true),
	('purge_job_run_details', '7 1 * * *', 'payments._purge_job_run_details', '{"keep": "14 days"}', 'once', NULL, '0', false, 1, true, 'removes old rows of our jobs from pg_cron''s log', NULL, true);

-- Whether statements are to be issued, and of which periods, is for somebody to decide.
INSERT INTO payments.job (job, schedule, command, catch_up, period, delay, enabled, description, added_at, builtin) VALUES
	('issue_statements', '7 6 * * *', 'payments._job_issue_statements', 'periods', '1 month', '6 hours', false, 'issues the statements of each month that is over', NULL, true);

-- Its arguments say what a function of somebody does.
CREATE FUNCTION payments.guard_job_writer() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		new.written_by := current_user;
	END IF;
	RETURN new;
END
$$;
COMMENT ON FUNCTION payments.guard_job_writer() IS 'Trigger: notes who writes a row of payments.job.';
CREATE TRIGGER guard_job_writer BEFORE INSERT OR UPDATE ON payments.job
	FOR EACH ROW EXECUTE FUNCTION payments.guard_job_writer();
ALTER TABLE payments.job ENABLE ALWAYS TRIGGER guard_job_writer;

SELECT pg_catalog.pg_extension_config_dump('payments.job', 'WHERE NOT builtin');
