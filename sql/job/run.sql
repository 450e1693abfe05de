-- Running a job.  run_job() is the caller's and commits each step: what the
-- step did, how far the job is and the row in job_run are one transaction, so
-- a kill loses at most the step that was under way, and the next run goes on.

CREATE FUNCTION payments._jobs()
	RETURNS TABLE (
		job text, schedule text, command text, arguments jsonb, catch_up text, period interval,
		delay interval, alone boolean, max_steps int, enabled boolean, description text, added_at timestamptz,
		builtin boolean, written_by name
	)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT ON (j.job) j.* FROM payments.job j ORDER BY j.job, j.builtin
$$;
COMMENT ON FUNCTION payments._jobs() IS 'Internal: the jobs, rows of users instead of shipped ones of the same name.';

CREATE FUNCTION payments._job_lock_held(_job text, _pid int) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (
		SELECT FROM pg_locks l
		WHERE l.locktype = 'advisory'
		AND l.pid = _pid
		AND l.granted
		AND l.objsubid = 18
		AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
		AND l.classid = 0
		AND l.objid::bigint = (hashtext(_job)::bigint & 4294967295)
	)
$$;
COMMENT ON FUNCTION payments._job_lock_held(text, int) IS 'Internal: does that process run the job?';

CREATE FUNCTION payments._job_lock(_job text) RETURNS boolean
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_job_lock';
COMMENT ON FUNCTION payments._job_lock(text) IS 'Internal: takes the job for this session, over its commits; false when another session has it. No other function of SQL can take this lock.';

CREATE FUNCTION payments._job_unlock(_job text) RETURNS boolean
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_job_unlock';
COMMENT ON FUNCTION payments._job_unlock(text) IS 'Internal: lets it go.';

CREATE FUNCTION payments._job_lock_in_transaction(_job text) RETURNS boolean
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_job_lock_in_transaction';
COMMENT ON FUNCTION payments._job_lock_in_transaction(text) IS 'Internal: the session''s job becomes the transaction''s, so that it goes with an error.';

CREATE FUNCTION payments._job_begin(_job text) RETURNS bigint
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	run bigint;
BEGIN
	PERFORM payments._refuse_card_numbers('job', _job);
	PERFORM payments._require_setup();
	IF NOT EXISTS (SELECT FROM payments.job j WHERE j.job = _job) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY606',
			MESSAGE = format('job "%s" does not exist', _job),
			HINT = 'SELECT job FROM payments.job lists them.';
	END IF;
	-- A session whose run was cancelled between two steps may hold it still.
	IF NOT payments._job_lock_held(_job, pg_backend_pid())
		AND NOT payments._job_lock(_job) THEN
		RETURN NULL;
	END IF;
	UPDATE payments.job_run r
	SET result = 'killed', ended_at = clock_timestamp(), error = 'the session ended in the middle'
	WHERE r.job = _job AND r.result = 'running';
	INSERT INTO payments.job_run (job, pid, run_by, from_watermark, watermark)
	SELECT _job, pg_backend_pid(), payments._caller(), s.watermark, s.watermark
	FROM (SELECT) one
	LEFT JOIN payments.job_state s ON s.job = _job
	RETURNING run_id INTO run;
	RETURN run;
END
$$;
COMMENT ON FUNCTION payments._job_begin(text) IS
'Internal: takes the job''s lock for the session and begins a run; null while another session runs it. Raises PY606.';

CREATE FUNCTION payments._job_period(
	_job text, _watermark text, OUT from_time timestamptz, OUT to_time timestamptz
) RETURNS record
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
	SET datestyle = 'ISO' AS $$
DECLARE
	j payments.job;
	since timestamptz;
BEGIN
	SELECT * INTO j FROM payments._jobs() x WHERE x.job = _job;
	from_time := _watermark::timestamptz;
	IF from_time IS NULL THEN
		-- From the period in which the job, or the installation, was made.
		SELECT greatest(j.added_at, i.set_up_at) INTO since FROM payments.installation i;
		from_time := CASE
			WHEN extract(month FROM j.period) + 12 * extract(year FROM j.period) = 0
				THEN date_bin(j.period, since, '2001-01-01 00:00:00+00')
			WHEN extract(year FROM j.period) = 0 THEN date_trunc('month', since)
			ELSE date_trunc('year', since)
		END;
	END IF;
	to_time := from_time + j.period;
END
$$;
COMMENT ON FUNCTION payments._job_period(text, text) IS 'Internal: the period that comes after a watermark.';

CREATE FUNCTION payments._job_is_ours(_command text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (
		SELECT FROM pg_proc f
		JOIN pg_language l ON l.oid = f.prolang
		WHERE f.pronamespace = 'payments'::regnamespace
		AND 'payments.' || f.proname = _command
		AND l.lanname IN ('payments', 'c')
	)
$$;
COMMENT ON FUNCTION payments._job_is_ours(text) IS 'Internal: is that a verb of ours, of which what a run has come to is not for the runner to say?';

-- By name, and somebody may make another of that name: only who owns the schema may be able to.
CREATE FUNCTION payments._job_schema_is_own(_schema name, _runner oid) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT bool_and(coalesce(u.oid IN (_runner, 'payments_owner'::regrole) OR u.rolsuper, false))
	FROM (
		SELECT CASE WHEN n.nspowner = 'pg_database_owner'::regrole THEN d.datdba ELSE n.nspowner END AS role
		FROM pg_namespace n
		JOIN pg_database d ON d.datname = current_database()
		WHERE n.nspname = _schema
		UNION ALL
		SELECT a.grantee
		FROM pg_namespace n
		CROSS JOIN aclexplode(n.nspacl) a
		WHERE n.nspname = _schema
		AND a.privilege_type = 'CREATE'
		AND a.grantee <> n.nspowner
	) x
	LEFT JOIN pg_roles u ON u.oid = x.role
$$;
COMMENT ON FUNCTION payments._job_schema_is_own(name, oid) IS 'Internal: can nobody but that role and superusers make functions in the schema?';

CREATE FUNCTION payments._job_refuse(_job text, _problem text, _detail text, _hint text) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = '42501',
		MESSAGE = format('job "%s" %s', _job, _problem),
		DETAIL = _detail,
		HINT = _hint;
END
$$;
COMMENT ON FUNCTION payments._job_refuse(text, text, text, text) IS 'Internal: raises 42501.';

-- Whoever may write into payments.job must not get hold of the rights of the role that runs it.
CREATE FUNCTION payments._job_require_trust(_job payments.job) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	runner record;
	shipped record;
	own boolean;
	lacks boolean;
	said text;
BEGIN
	SELECT u.oid, u.rolname, u.rolsuper INTO STRICT runner
	FROM pg_roles u
	WHERE u.rolname = payments._caller();
	said := format(
		'The job was run as "%s", and its row was written by "%s".', runner.rolname, _job.written_by);
	-- Shipped rows are ours (core/shipped.sql).  Of others a superuser runs none: who knows what its
	-- arguments make of a function.
	IF NOT _job.builtin AND runner.rolsuper THEN
		PERFORM payments._job_refuse(
			_job.job, 'is not a shipped one, so no superuser runs it', said,
			'Run it as a member of payments_admin that is no superuser; SELECT '
				'payments.schedule_jobs(username => ...) has pg_cron do so.');
	END IF;
	-- How far a shipped job is, and what it has found, nothing else may say.
	SELECT s.command, s.catch_up INTO shipped FROM payments.job s WHERE s.builtin AND s.job = _job.job;
	IF FOUND AND (shipped.command, shipped.catch_up) <> (_job.command, _job.catch_up) THEN
		PERFORM payments._job_refuse(
			_job.job, format('is a shipped one: it runs %s, catch_up %s', shipped.command, shipped.catch_up),
			said, 'Give what does something else a name of its own.');
	END IF;
	SELECT bool_and(
			f.proowner = 'payments_owner'::regrole
				OR f.proowner = runner.oid AND n.nspname <> 'payments'),
		bool_or(NOT has_function_privilege(runner.oid, f.oid, 'EXECUTE'))
	INTO own, lacks
	FROM pg_proc f
	JOIN pg_namespace n ON n.oid = f.pronamespace
	WHERE n.nspname || '.' || f.proname = _job.command AND f.prokind = 'f';
	IF own IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '42883',
			MESSAGE = format('function %s of job "%s" does not exist', _job.command, _job.job),
			HINT = 'Create it, or correct the row in payments.job.';
	END IF;
	-- Of ours what is shipped as a job, and no other: some do as they are told.
	IF split_part(_job.command, '.', 1) = 'payments' THEN
		IF NOT EXISTS (SELECT FROM payments.job s WHERE s.builtin AND s.command = _job.command) OR lacks THEN
			PERFORM payments._job_refuse(
				_job.job, format('must not run function %s', _job.command), said,
				'Of ours it may run what shipped jobs run.');
		END IF;
		RETURN;
	END IF;
	IF NOT own OR lacks THEN
		PERFORM payments._job_refuse(
			_job.job, format('must not run function %s', _job.command), said,
			'It may run what shipped jobs run, what belongs to the role that runs it, and what a superuser '
				'has given to payments_owner: ALTER FUNCTION ... OWNER TO payments_owner.');
	ELSIF NOT payments._job_schema_is_own(split_part(_job.command, '.', 1)::name, runner.oid) THEN
		PERFORM payments._job_refuse(
			_job.job,
			format('must not run function %s: others can make functions in its schema', _job.command), said,
			'Move it into a schema that belongs to the role that runs the job, or to a superuser, and in '
				'which nobody else may CREATE.');
	ELSIF _job.written_by <> runner.rolname
		AND NOT EXISTS (SELECT FROM pg_roles u WHERE u.rolname = _job.written_by AND u.rolsuper) THEN
		PERFORM payments._job_refuse(
			_job.job, format('must not run function %s: its row was written by another role', _job.command),
			said,
			'Who writes the arguments says what the function does: run it as the role that wrote the row, or '
				'let the one that runs it, or a superuser, write it.');
	END IF;
END
$$;
COMMENT ON FUNCTION payments._job_require_trust(payments.job) IS
'Internal: may the caller run the job? Raises 42883 (no such function), 42501 (a function or a row that is not trusted).';

CREATE FUNCTION payments._job_call(_run bigint, OUT query text, OUT ours boolean) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
	SET datestyle = 'ISO' AS $$
DECLARE
	r payments.job_run;
	j payments.job;
	p record;
	given text;
BEGIN
	SELECT * INTO STRICT r FROM payments.job_run x WHERE x.run_id = _run;
	SELECT * INTO STRICT j FROM payments._jobs() x WHERE x.job = r.job;
	PERFORM payments._job_require_trust(j);
	SELECT string_agg(format('%I => %L', a.key, a.value), ', ' ORDER BY a.key) INTO given
	FROM jsonb_each_text(j.arguments) a;
	IF j.catch_up = 'watermark' THEN
		given := concat_ws(', ', format('watermark => %L', r.watermark), given);
	ELSIF j.catch_up = 'periods' THEN
		SELECT * INTO p FROM payments._job_period(j.job, r.watermark);
		IF p.to_time + j.delay > clock_timestamp() THEN
			RETURN;
		END IF;
		given := concat_ws(', ', format('from_time => %L, to_time => %L', p.from_time, p.to_time), given);
	END IF;
	-- Of one look at the row: another one may have been written meanwhile.
	ours := payments._job_is_ours(j.command);
	query := format('SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(r)), ''[]'') FROM %s(%s) r',
		j.command, given);
END
$$;
COMMENT ON FUNCTION payments._job_call(bigint) IS
'Internal: the query that is a run''s next step, null when nothing is left to do; ours: it is a verb of ours. Raises 42883 (no such function), 42501 (a function or a row that is not trusted).';

CREATE FUNCTION payments._job_running(_run bigint) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text;
BEGIN
	SELECT x.job INTO name
	FROM payments.job_run x
	WHERE x.run_id = _run AND x.result = 'running' AND x.pid = pg_backend_pid() FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY901',
			MESSAGE = format('run %s is not running in this session', coalesce(_run::text, 'null')),
			HINT = 'Somebody ended it in payments.job_run; run the job again.';
	END IF;
	RETURN name;
END
$$;
COMMENT ON FUNCTION payments._job_running(bigint) IS 'Internal: locks a run of this session, and returns its job. Raises PY901.';

CREATE FUNCTION payments._job_note(_run bigint, _answer jsonb) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
	SET datestyle = 'ISO' AS $$
DECLARE
	r payments.job_run;
	j payments.job;
	done_rows bigint;
	found_rows bigint;
	all_rows bigint;
	next text;
BEGIN
	SELECT * INTO STRICT r FROM payments.job_run x WHERE x.run_id = _run;
	SELECT * INTO STRICT j FROM payments._jobs() x WHERE x.job = r.job;
	-- A number is a count; an object counts what it says, else as one row; ok = false makes it a finding,
	-- and so does what was refused.
	SELECT coalesce(
		sum(
			CASE
				WHEN jsonb_typeof(a.e) = 'number' THEN (a.e)::bigint
				WHEN a.e ? 'rows' THEN (a.e ->> 'rows')::bigint
				ELSE 1
			END),
		0),
		count(*) FILTER (WHERE a.e -> 'ok' = 'false' OR a.e ->> 'refused' IS NOT NULL)
	INTO done_rows, found_rows
	FROM jsonb_array_elements(_answer) a (e)
	WHERE jsonb_typeof(a.e) IN ('number', 'object');
	-- How many there are: in all, or besides those that are done.
	SELECT max(coalesce((a.e ->> 'total')::bigint, r.rows + done_rows + (a.e ->> 'left')::bigint))
	INTO all_rows FROM jsonb_array_elements(_answer) a (e) WHERE jsonb_typeof(a.e) = 'object';
	-- What was found first stays as it was found.
	INSERT INTO payments.job_finding AS f (job, subject, detail, run_id, found_at, last_run_id, last_found_at)
	SELECT DISTINCT ON (x.subject) r.job, x.subject, x.e, _run, clock_timestamp(), _run,
		clock_timestamp()
	FROM (
		SELECT a.e,
			coalesce(a.e ->> 'subject', a.e ->> 'invariant', a.e ->> 'partition', a.e::text) AS subject
		FROM jsonb_array_elements(payments._mask_value(_answer)) a (e)
		WHERE a.e -> 'ok' = 'false' OR a.e ->> 'refused' IS NOT NULL
	) x
	ON CONFLICT (job, md5(subject))
	WHERE resolved_at IS NULL
	DO UPDATE SET last_run_id = excluded.last_run_id, last_found_at = excluded.last_found_at;
	next := r.watermark;
	IF j.catch_up = 'watermark' THEN
		SELECT a.e ->> 'watermark' INTO next
		FROM jsonb_array_elements(_answer) WITH ORDINALITY a (e, n)
		WHERE a.e ? 'watermark'
		ORDER BY a.n DESC LIMIT 1;
		IF NOT FOUND THEN
			next := r.watermark;
		END IF;
	ELSIF j.catch_up = 'periods' THEN
		SELECT p.to_time::text INTO next FROM payments._job_period(j.job, r.watermark) p;
	END IF;
	UPDATE payments.job_run x
	SET steps = x.steps + 1, rows = x.rows + done_rows, total = coalesce(all_rows, x.total),
		stepped_at = clock_timestamp(), findings = x.findings + found_rows, watermark = next
	WHERE x.run_id = _run;
	INSERT INTO payments.job_state AS s (job, watermark, updated_at) VALUES (r.job, next, clock_timestamp())
	ON CONFLICT (job) DO UPDATE SET watermark = excluded.watermark, updated_at = excluded.updated_at;
	RETURN CASE j.catch_up
		WHEN 'once' THEN true
		WHEN 'batches' THEN done_rows = 0
		WHEN 'periods' THEN false
		ELSE coalesce(
			(SELECT bool_or(a.e -> 'done' = 'true') FROM jsonb_array_elements(_answer) a (e)), false)
			OR _answer = '[]'
	END;
END
$$;
COMMENT ON FUNCTION payments._job_note(bigint, jsonb) IS
'Internal: writes down what a step has returned, in its transaction: counts, findings and watermark. True when the run is finished.';

CREATE FUNCTION payments._job_close_run(_run bigint, _result text, _sqlstate text, _error text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	UPDATE payments.job_run r
	SET ended_at = clock_timestamp(), sqlstate = _sqlstate, error = payments._mask_value(_error),
		result = _result
	WHERE r.run_id = _run AND r.result = 'running' AND r.pid = pg_backend_pid()
$$;
COMMENT ON FUNCTION payments._job_close_run(bigint, text, text, text) IS 'Internal: ends a run of this session.';

-- A verb of ours is called and written down in one: what it has come to is nobody else's to say.
CREATE FUNCTION payments._job_step(_run bigint, OUT finished boolean, OUT query text) RETURNS record
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
	SET datestyle = 'ISO' AS $$
DECLARE
	next record;
	answer jsonb;
BEGIN
	PERFORM payments._job_running(_run);
	SELECT c.query, c.ours INTO next FROM payments._job_call(_run) c;
	IF next.query IS NULL THEN
		finished := true;
	ELSIF next.ours THEN
		EXECUTE next.query INTO answer;
		finished := payments._job_note(_run, answer);
	ELSE
		query := next.query;
	END IF;
	IF finished THEN
		PERFORM payments._job_close_run(_run, 'done', NULL, NULL);
	END IF;
END
$$;
COMMENT ON FUNCTION payments._job_step(bigint) IS
'Internal: the next step of a run; true when the run is finished and ended. query: the step, for the runner to run and _job_record() to write down. Raises what the step raises, 42883, 42501, PY901.';

CREATE FUNCTION payments._job_record(_run bigint, _answer jsonb) RETURNS boolean
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text := payments._job_running(_run);
	finished boolean;
BEGIN
	IF EXISTS (SELECT FROM payments.job j WHERE j.job = name AND payments._job_is_ours(j.command)) THEN
		PERFORM payments._job_refuse(
			name, 'writes down itself what it has come to', 'It runs a verb of payments.',
			'CALL payments.run_job(...) runs it.');
	END IF;
	finished := payments._job_note(_run, _answer);
	IF finished THEN
		PERFORM payments._job_close_run(_run, 'done', NULL, NULL);
	END IF;
	RETURN finished;
END
$$;
COMMENT ON FUNCTION payments._job_record(bigint, jsonb) IS
'Internal: writes down what a step has returned that the runner has run. True when the run is finished and ended. Raises 42501 for a job that runs a verb of ours, PY901.';

CREATE FUNCTION payments._job_end(_run bigint, _sqlstate text, _error text) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._job_close_run(
		_run, CASE WHEN _sqlstate IS NOT NULL THEN 'failed' ELSE 'partial' END, _sqlstate, _error);
END
$$;
COMMENT ON FUNCTION payments._job_end(bigint, text, text) IS
'Internal: ends a run that is not finished; with a SQLSTATE it has failed.';

CREATE FUNCTION payments._job_max_steps(_run bigint, OUT max_steps int, OUT alone boolean) RETURNS record
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	SELECT j.max_steps, j.alone INTO _job_max_steps.max_steps, _job_max_steps.alone
	FROM payments.job_run r
	JOIN payments._jobs() j ON j.job = r.job
	WHERE r.run_id = _run;
END
$$;
COMMENT ON FUNCTION payments._job_max_steps(bigint) IS 'Internal: steps that a run may take, and whether its only one must be no subtransaction.';

CREATE FUNCTION payments._short_number(_n numeric) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN _n < 9999.5 THEN round(_n)::text
		ELSE (
			SELECT CASE WHEN u.q < 9.95 THEN round(u.q, 1) ELSE round(u.q) END || u.unit
			FROM (
				SELECT _n / power(1000::numeric, g.p) AS q, g.unit
				FROM (VALUES (1, 'k'), (2, 'M'), (3, 'G'), (4, 'T'), (5, 'P'), (6, 'E')) g (p, unit)
			) u
			WHERE u.q < 999.5
			ORDER BY u.q DESC LIMIT 1
		)
	END
$$;
COMMENT ON FUNCTION payments._short_number(numeric) IS 'Internal: a count in at most four characters, such as 12k or 1.2M.';

CREATE FUNCTION payments._job_activity(_job text, _steps int, _rows bigint, _total bigint, _rate numeric)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	-- application_name has room for 63 bytes, and cuts the rest off: the longest that fits.
	SELECT v.title
	FROM (
		SELECT payments._short_number(_rows) AS n, payments._short_number(_total) AS m,
			payments._short_number(_rate) AS r,
			CASE WHEN _total > 0 THEN floor(100 * least(_rows::numeric / _total, 1)) ELSE 100 END AS percent
	) s
	CROSS JOIN LATERAL (
		VALUES (1,
			format('payments %s: ', _job)
				|| CASE
					WHEN _total IS NULL THEN format('%s steps, %s rows', _steps, _rows)
					ELSE format('%s/%s rows (%s %%)', _rows, _total, s.percent)
				END
				|| coalesce(', ' || round(_rate) || '/s', '')),
			(2,
				format('payments %s: ', _job)
					|| CASE
						WHEN _total IS NULL THEN format('%s rows', s.n)
						ELSE format('%s/%s rows (%s %%)', s.n, s.m, s.percent)
					END
					|| coalesce(', ' || s.r || '/s', '')),
			(3,
				format('payments %s: ', _job)
					|| CASE
						WHEN _total IS NULL THEN format('%s rows', s.n)
						ELSE format('%s/%s (%s %%)', s.n, s.m, s.percent)
					END),
			(4, format('payments %s', _job))
	) v (i, title)
	WHERE octet_length(v.title) <= 63
	ORDER BY v.i LIMIT 1
$$;
COMMENT ON FUNCTION payments._job_activity(text, int, bigint, bigint, numeric) IS 'Internal: how far a run is, in at most 63 bytes; rate: rows a second, null: unknown.';

CREATE FUNCTION payments._job_rate(_rows bigint, _started_at timestamptz, _stepped_at timestamptz)
	RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN _stepped_at > _started_at THEN _rows / extract(epoch FROM _stepped_at - _started_at) END
$$;
COMMENT ON FUNCTION payments._job_rate(bigint, timestamptz, timestamptz) IS 'Internal: rows a second of a run up to its last step; null before that.';

CREATE FUNCTION payments._job_title(_run bigint) RETURNS text
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (
		SELECT payments._job_activity(
			r.job, r.steps, r.rows, r.total, payments._job_rate(r.rows, r.started_at, r.stepped_at))
		FROM payments.job_run r
		WHERE r.run_id = _run
	);
END
$$;
COMMENT ON FUNCTION payments._job_title(bigint) IS 'Internal: application_name of a run.';

-- No verb, and no SET: a procedure with either cannot COMMIT.
-- So each transaction sets the search_path itself, and names are qualified.
CREATE PROCEDURE payments.run_job(job text)
	LANGUAGE plpgsql AS $$
DECLARE
	run bigint;
	steps_max int;
	alone boolean;
	step text;
	answer jsonb;
	finished boolean;
	failed_with text;
	failed_message text;
	failed_detail text;
	failed_hint text;
BEGIN
	PERFORM payments._refuse_card_numbers('job', run_job.job);
	-- In a transaction block it fails here, before anything is locked.
	COMMIT;
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	run := payments._job_begin(run_job.job);
	SELECT m.max_steps, m.alone INTO steps_max, alone FROM payments._job_max_steps(run) m;
	COMMIT;
	IF run IS NULL THEN
		RAISE NOTICE 'job "%" runs already in another session', run_job.job;
		RETURN;
	END IF;
	IF alone THEN
		PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
			pg_catalog.set_config('application_name', payments._job_title(run), true);
		-- An error ends all of this, so the lock must go with the transaction.
		PERFORM payments._job_lock_in_transaction(run_job.job);
		SELECT s.finished, s.query INTO finished, step FROM payments._job_step(run) s;
		IF step IS NOT NULL THEN
			EXECUTE step INTO answer;
			PERFORM payments._job_record(run, answer);
		END IF;
		COMMIT;
		RETURN;
	END IF;
	finished := false;
	FOR n IN 1 .. steps_max LOOP
		BEGIN
			PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
				pg_catalog.set_config('application_name', payments._job_title(run), true);
			SELECT s.finished, s.query INTO finished, step FROM payments._job_step(run) s;
			IF step IS NOT NULL THEN
				EXECUTE step INTO answer;
				finished := payments._job_record(run, answer);
			END IF;
		EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
			GET STACKED DIAGNOSTICS failed_with = RETURNED_SQLSTATE, failed_message = MESSAGE_TEXT,
				failed_detail = PG_EXCEPTION_DETAIL, failed_hint = PG_EXCEPTION_HINT;
		END;
		COMMIT;
		EXIT WHEN finished OR failed_with IS NOT NULL;
	END LOOP;
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	PERFORM payments._job_end(run, failed_with, failed_message);
	failed_detail := concat_ws(
		' ', nullif(failed_detail, ''), format('It was run %s of job "%s".', run, run_job.job));
	failed_hint := coalesce(nullif(failed_hint, ''), 'The next run goes on from where this one has come to.');
	COMMIT;
	PERFORM payments._job_unlock(run_job.job);
	IF failed_with IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = failed_with,
			MESSAGE = payments._mask_value(failed_message),
			DETAIL = payments._mask_value(failed_detail),
			HINT = payments._mask_value(failed_hint);
	END IF;
END
$$;
COMMENT ON PROCEDURE payments.run_job(text) IS
'Runs a job of payments.job now: by hand, from pg_cron or another scheduler. Commits after each step, so it cannot be called in a transaction; goes on where the last run came to, killed or not. While another session runs the job, it says so and leaves. Progress: payments.progress, and application_name in pg_stat_activity. Raises PY606, what the job''s function raises, 42883 and 42501 for a function that is not there or not trusted.';

CREATE FUNCTION payments.resolve_finding(finding_id bigint, resolution text) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers('resolution', resolve_finding.resolution);
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	IF resolve_finding.resolution !~ '[^[:space:]]' OR resolve_finding.resolution IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'a finding needs a resolution',
			HINT = 'Say what was done about it, or why it is none.';
	END IF;
	UPDATE payments.job_finding f
	SET resolved_at = clock_timestamp(), resolution = resolve_finding.resolution,
		resolved_by = payments._caller()
	WHERE f.finding_id = resolve_finding.finding_id AND f.resolved_at IS NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY607',
			MESSAGE = format(
				'open finding %s does not exist', coalesce(resolve_finding.finding_id::text, 'null')),
			HINT = 'SELECT * FROM payments.job_finding WHERE resolved_at IS NULL lists them.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments.resolve_finding(bigint, text) IS
'Closes a finding of a job, with what was done about it. Found again afterwards, it is a new one. Raises PY607, 22023 without a resolution.';

-- The functions of shipped jobs.

CREATE FUNCTION payments._job_verify(watermark text, blocks int, whole boolean DEFAULT false)
	RETURNS SETOF jsonb
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	from_block bigint := coalesce(_job_verify.watermark::bigint, 0) + 1;
	newest bigint;
	to_block bigint;
	f record;
BEGIN
	SELECT coalesce(max(s.block), 0) INTO newest FROM payments.seal s;
	to_block := least(from_block + _job_verify.blocks - 1, newest);
	IF from_block <= newest THEN
		FOR f IN SELECT v.* FROM payments.verify(NULL, from_block, to_block) v WHERE v.kind <> 'ok' LOOP
			RETURN NEXT jsonb_build_object('ok', false, 'rows', 0, 'subject',
				concat_ws(' ', f.kind, 'block', f.block, f.table_name, f.row_key), 'kind', f.kind, 'block',
				f.block, 'table_name', f.table_name, 'row_key', f.row_key, 'detail', f.detail);
		END LOOP;
	END IF;
	-- The whole begins at the first block again, when it has come to the end.
	RETURN NEXT jsonb_build_object('rows', greatest(to_block - from_block + 1, 0), 'left',
		greatest(newest - to_block, 0), 'done', to_block >= newest, 'watermark',
		CASE WHEN NOT _job_verify.whole OR to_block < newest THEN greatest(to_block, from_block - 1) END);
END
$$;
COMMENT ON FUNCTION payments._job_verify(text, int, boolean) IS
'Internal: verifies that many seal blocks behind the watermark; whole: over and over, from the first.';

CREATE FUNCTION payments._purge_job_run(keep interval) RETURNS bigint
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	purged bigint;
BEGIN
	IF _purge_job_run.keep IS NULL OR _purge_job_run.keep < interval '1 day' THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'runs are kept for a day at least',
			HINT = 'Pass for example keep => ''90 days''.';
	END IF;
	-- The last run of each job stays: it says when that was.  So do those that found what is open still.
	DELETE FROM payments.job_run d
	WHERE d.run_id IN (
		SELECT r.run_id
		FROM payments.job_run r
		WHERE r.ended_at < clock_timestamp() - _purge_job_run.keep
		AND EXISTS (SELECT FROM payments.job_run n WHERE n.job = r.job AND n.run_id > r.run_id)
		AND NOT EXISTS (
			SELECT FROM payments.job_finding f
			WHERE f.resolved_at IS NULL AND r.run_id IN (f.run_id, f.last_run_id)
		)
		ORDER BY r.run_id LIMIT 1000
	);
	GET DIAGNOSTICS purged = ROW_COUNT;
	RETURN purged;
END
$$;
COMMENT ON FUNCTION payments._purge_job_run(interval) IS
'Internal: removes up to 1000 rows of job_run that ended longer ago (a day at least), and returns how many. Raises 22023.';
