-- Telling pg_cron.  It is optional, lives in one database of the cluster and
-- is called by text: nothing here refers to it before it is needed.  These run
-- with the caller's rights, since pg_cron runs a job as whoever scheduled it.

CREATE FUNCTION payments._cron_state(OUT preloaded boolean, OUT database text, OUT launcher_pid int)
	RETURNS record
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pay_cron_state';
COMMENT ON FUNCTION payments._cron_state() IS
'Internal: is pg_cron preloaded, in which database are its jobs, and which process starts them (null: none).';

CREATE FUNCTION payments._cron_prefix(_database text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	-- pg_cron's names have 63 bytes, ours of jobs up to 30.
	SELECT 'payments:'
		|| CASE
			WHEN octet_length(_database) <= 23 THEN _database
			ELSE left(regexp_replace(_database, '[^A-Za-z0-9_]', '_', 'g'), 14) || '~'
				|| left(md5(_database), 8)
		END
		|| ':'
$$;
COMMENT ON FUNCTION payments._cron_prefix(text) IS 'Internal: what the names of a database''s jobs begin with in pg_cron.';

CREATE FUNCTION payments._cron_purge(_database text, _keep interval) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT format(
		'DELETE FROM cron.job_run_details WHERE username = current_user'
		' AND (database = %L AND command LIKE ''CALL payments.run_job(%%'''
		' OR command LIKE ''DELETE FROM cron.job_run_details%%'')'
		' AND (coalesce(end_time, start_time) < now() - interval %L'
		' OR coalesce(end_time, start_time) IS NULL AND runid <'
		' (SELECT max(o.runid) FROM cron.job_run_details o WHERE o.start_time < now() - interval %L))',
		_database, _keep, _keep)
$$;
COMMENT ON FUNCTION payments._cron_purge(text, interval) IS 'Internal: the statement that purges pg_cron''s log of a database''s jobs, of the role that runs it.';

CREATE FUNCTION payments._cron_plan(_database text, _own boolean)
	RETURNS TABLE (job text, jobname text, schedule text, command text, in_database text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT j.job, payments._cron_prefix(_database) || j.job, j.schedule,
		CASE
			WHEN j.job = 'purge_job_run_details' AND NOT _own
				THEN payments._cron_purge(_database, (j.arguments ->> 'keep')::interval)
			ELSE format('CALL payments.run_job(%L)', j.job)
		END,
		CASE WHEN j.job <> 'purge_job_run_details' AND NOT _own THEN _database END
	FROM payments._jobs() j
	WHERE j.enabled
$$;
COMMENT ON FUNCTION payments._cron_plan(text, boolean) IS
'Internal: what pg_cron should have for a database; in_database is null for pg_cron''s own, own says that the database is that.';

CREATE FUNCTION payments._cron_here() RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron')
	AND EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'cron' AND has_schema_privilege(n.oid, 'USAGE'))
$$;
COMMENT ON FUNCTION payments._cron_here() IS 'Internal: is pg_cron in this database, and may the caller use it?';

CREATE FUNCTION payments._cron_jobs(_database text)
	RETURNS TABLE (
		jobid bigint, job text, schedule text, command text, in_database text, username text, active boolean,
		last_message text
	)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	prefix text := payments._cron_prefix(_database);
BEGIN
	IF payments._cron_here() THEN
		RETURN QUERY EXECUTE '
			SELECT j.jobid, substr(j.jobname::text, length($1) + 1), j.schedule, j.command, j.database,
				j.username, j.active,
				(
					SELECT d.status || coalesce('': '' || d.return_message, '''')
					FROM cron.job_run_details d
					WHERE d.jobid = j.jobid
					ORDER BY d.runid DESC LIMIT 1
				)
			FROM cron.job j
			WHERE starts_with(j.jobname::text, $1)
			AND strpos(substr(j.jobname::text, length($1) + 1), '':'') = 0'
		USING prefix;
	END IF;
END
$$;
COMMENT ON FUNCTION payments._cron_jobs(text) IS
'Internal: what pg_cron has for a database and lets the caller see: those of its own role; of all for a superuser.';

CREATE FUNCTION payments._require_cron() RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
BEGIN
	IF payments._cron_here() THEN
		RETURN;
	END IF;
	SELECT * INTO c FROM payments._cron_state();
	IF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
		RAISE EXCEPTION USING
			ERRCODE = '42501',
			MESSAGE = 'no permission to use pg_cron',
			HINT = format('A superuser can grant it: GRANT USAGE ON SCHEMA cron TO %I;', current_user);
	ELSIF NOT c.preloaded THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY605',
			MESSAGE = 'pg_cron is not preloaded',
			HINT = 'Add pg_cron to shared_preload_libraries and restart, then CREATE EXTENSION pg_cron. '
				'Without it, let another scheduler run CALL payments.run_job(...).';
	ELSIF c.database IS DISTINCT FROM current_database() THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY605',
			MESSAGE = format('the jobs of pg_cron are in database "%s"', c.database),
			HINT = format(
				'psql -XAtq -d %L -c "SELECT statement FROM payments.schedule_statements()" | psql -d %L',
				current_database(), c.database);
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'PY605',
		MESSAGE = 'pg_cron is preloaded, but not installed in this database',
		HINT = 'CREATE EXTENSION pg_cron;';
END
$$;
COMMENT ON FUNCTION payments._require_cron() IS 'Internal: raises PY605 or 42501 unless pg_cron can be told of jobs from here.';

CREATE FUNCTION payments._purge_job_run_details(keep interval) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	purged bigint;
BEGIN
	PERFORM payments._require_cron();
	EXECUTE payments._cron_purge(current_database(), _purge_job_run_details.keep);
	GET DIAGNOSTICS purged = ROW_COUNT;
	RETURN purged;
END
$$;
COMMENT ON FUNCTION payments._purge_job_run_details(interval) IS
'Internal: removes what pg_cron logged about this database''s jobs of the calling role longer ago, and returns how many rows. Raises PY605.';

CREATE FUNCTION payments._cron_statement(
	_jobname text, _schedule text, _command text, _in_database text, _username text
) RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN _in_database IS NULL AND _username IS NULL
			THEN format('SELECT cron.schedule(%L, %L, %L);', _jobname, _schedule, _command)
		WHEN _username IS NULL
			THEN format('SELECT cron.schedule_in_database(%L, %L, %L, %L);', _jobname, _schedule, _command,
				_in_database)
		ELSE format('SELECT cron.schedule_in_database(%L, %L, %L, %s, %L);', _jobname, _schedule, _command,
			coalesce(quote_literal(_in_database), 'current_database()'), _username)
	END
$$;
COMMENT ON FUNCTION payments._cron_statement(text, text, text, text, text) IS 'Internal: the call of pg_cron that makes or alters a job.';

CREATE FUNCTION payments.schedule_statements(
	database text DEFAULT current_database(), username text DEFAULT NULL, remove boolean DEFAULT false
) RETURNS TABLE (job text, statement text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	own boolean := schedule_statements.database = (SELECT c.database FROM payments._cron_state() c);
BEGIN
	PERFORM payments._refuse_card_numbers(
		'database', schedule_statements.database, 'username', schedule_statements.username);
	-- What is gone, disabled, or was in another database (which pg_cron does not alter) first.
	RETURN QUERY
	SELECT NULL::text,
		format(
			'SELECT cron.unschedule(j.jobid) FROM cron.job j WHERE j.username = %s'
			' AND starts_with(j.jobname, %L) AND strpos(substr(j.jobname, %s), '':'') = 0'
			' AND NOT EXISTS (SELECT FROM (VALUES %s) p (jobname, in_database) WHERE p.jobname = j.jobname'
			' AND coalesce(p.in_database, current_database()) = j.database);',
			coalesce(quote_literal(schedule_statements.username), 'current_user'),
			payments._cron_prefix(schedule_statements.database),
			length(payments._cron_prefix(schedule_statements.database)) + 1,
			coalesce(
				string_agg(
					format('(%L, %L)', p.jobname, p.in_database), ', '
					ORDER BY p.job) FILTER (WHERE NOT schedule_statements.remove),
				'(NULL, NULL)'))
	FROM payments._cron_plan(schedule_statements.database, coalesce(own, false)) p;
	RETURN QUERY
	SELECT p.job,
		payments._cron_statement(
			p.jobname, p.schedule, p.command, p.in_database, schedule_statements.username)
	FROM payments._cron_plan(schedule_statements.database, coalesce(own, false)) p
	WHERE NOT schedule_statements.remove
	ORDER BY p.job;
END
$$;
COMMENT ON FUNCTION payments.schedule_statements(text, text, boolean) IS
'What schedule_jobs() would do, as statements to be run in pg_cron''s own database, where this database''s rows of payments.job cannot be read. May be run again and again. username: the role that the jobs run as, when that is not the one who runs the statements. remove: statements that take all jobs of the database away.';

CREATE FUNCTION payments.schedule_jobs(
	database text DEFAULT current_database(), username text DEFAULT NULL, remove boolean DEFAULT false
) RETURNS TABLE (job text, action text, schedule text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	who text := coalesce(schedule_jobs.username, current_user);
	d record;
BEGIN
	PERFORM payments._refuse_card_numbers(
		'database', schedule_jobs.database, 'username', schedule_jobs.username);
	PERFORM payments._require_cron();
	IF NOT EXISTS (SELECT FROM pg_database b WHERE b.datname = schedule_jobs.database) THEN
		RAISE EXCEPTION USING
			ERRCODE = '3D000',
			MESSAGE = format('database "%s" does not exist', schedule_jobs.database),
			HINT = 'Name the database that the jobs are to run in.';
	END IF;
	FOR d IN
		SELECT coalesce(p.job, c.job) AS job, p.jobname, p.schedule, p.command, p.in_database, c.jobid,
			c.active, c.in_database AS was_in,
			(c.schedule, c.command) IS DISTINCT FROM (p.schedule, p.command) AS differs
		FROM (
			SELECT x.*
			FROM payments._cron_plan(schedule_jobs.database, schedule_jobs.database = current_database()) x
			WHERE NOT schedule_jobs.remove
		) p
		FULL JOIN (SELECT x.* FROM payments._cron_jobs(schedule_jobs.database) x WHERE x.username = who) c
			ON c.job = p.job
		ORDER BY 1
	LOOP
		-- pg_cron alters neither the database nor a pause: the first takes a new
		-- job, the second is somebody's wish.
		IF d.jobid IS NOT NULL
			AND (d.jobname IS NULL OR coalesce(d.in_database, current_database()) <> d.was_in) THEN
			EXECUTE 'SELECT cron.unschedule($1)' USING d.jobid;
		END IF;
		IF d.jobname IS NOT NULL
			AND (d.jobid IS NULL OR d.differs OR coalesce(d.in_database, current_database()) <> d.was_in) THEN
			EXECUTE payments._cron_statement(
				d.jobname, d.schedule, d.command, d.in_database, schedule_jobs.username);
		END IF;
		RETURN QUERY
		SELECT d.job,
			CASE
				WHEN d.jobname IS NULL THEN 'removed'
				WHEN d.jobid IS NULL THEN 'created'
				WHEN d.differs OR coalesce(d.in_database, current_database()) <> d.was_in THEN 'altered'
				WHEN NOT d.active THEN 'paused'
				ELSE 'unchanged'
			END,
			d.schedule;
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments.schedule_jobs(text, text, boolean) IS
'Makes pg_cron run the enabled rows of payments.job: creates, alters and removes its jobs named payments:DATABASE:JOB, and leaves all others alone; call it again after changing payments.job. Call it in pg_cron''s own database; for another database by schedule_statements(). database: where the jobs run; other than the current one, they are those of the current one''s payments.job. username: role that they run as, default the caller''s (only a superuser may name another). remove: takes all of them away. Returns what became of each: created, altered, unchanged, removed, paused (somebody has set cron.job.active to false). Raises PY605 when pg_cron is not here, 42501, 3D000.';
