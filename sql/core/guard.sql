-- Triggers and small helpers.  Names with a leading underscore are internal.

CREATE FUNCTION payments.guard_append_only() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_guard_append_only';
COMMENT ON FUNCTION payments.guard_append_only() IS 'Trigger: refuses UPDATE, DELETE and TRUNCATE (PY003).';

CREATE FUNCTION payments.guard_facts() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_guard_facts';
COMMENT ON FUNCTION payments.guard_facts() IS 'Trigger: lets only the projection of a row change (PY003), and only known words in (PY901).';

CREATE FUNCTION payments.guard_installation() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_guard_installation';
COMMENT ON FUNCTION payments.guard_installation() IS 'Trigger: lets only functions of payments, and superusers, change what setup() has made and where is armed (PY003).';

CREATE FUNCTION payments._unguarded() RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pay_unguarded';
COMMENT ON FUNCTION payments._unguarded() IS 'Internal: why DDL is not guarded in this session, and what to do; null when it is.';

CREATE FUNCTION payments.guard_status() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_guard_status';
COMMENT ON FUNCTION payments.guard_status() IS 'Trigger: refuses a status row with an illegal edge (PY002), a wrong sequence number or a wrong hash (PY004).';

CREATE FUNCTION payments.forget_routes() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_forget_cached';
COMMENT ON FUNCTION payments.forget_routes() IS 'Trigger: tells every session to read merchants, PSPs, currencies and limits anew.';

CREATE FUNCTION payments.guard_psp() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_guard_psp';
COMMENT ON FUNCTION payments.guard_psp() IS 'Trigger: refuses another address, secret or account of a PSP while it may have performed something that is open here, and to delete it while anything is (PY409); the feeds of one that is deleted go with it.';

-- Each function asks so for all its texts before it does anything else: what is looked up by a text,
-- and not found, would be repeated in an error.
CREATE FUNCTION payments._refuse_card_numbers(VARIADIC "names and values" "any") RETURNS void
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_refuse_card_numbers';
COMMENT ON FUNCTION payments._refuse_card_numbers(VARIADIC "any") IS 'Internal: after each name a value, a text, jsonb or text[]; raises PY009, with the name, when one holds what looks like a card number.';

CREATE FUNCTION payments.guard_card_numbers() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_guard_card_numbers';
COMMENT ON FUNCTION payments.guard_card_numbers() IS 'Trigger: refuses a row in which a text holds what looks like a card number (PY009).';

CREATE FUNCTION payments._mask_value(value text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_mask_value';
COMMENT ON FUNCTION payments._mask_value(text) IS 'Internal: a text of others as it is to be stored: with card numbers masked.';

CREATE FUNCTION payments._mask_value(value jsonb) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_mask_value_json';
COMMENT ON FUNCTION payments._mask_value(jsonb) IS 'Internal: the same for JSON, in names, texts and numbers.';

CREATE FUNCTION payments._one_line(value text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_one_line';
COMMENT ON FUNCTION payments._one_line(text) IS 'Internal: a text for a report: what ends a line, and other control characters, are question marks.';

CREATE FUNCTION payments._has_rows(name text) RETURNS boolean
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pay_has_rows';
COMMENT ON FUNCTION payments._has_rows(text) IS 'Internal: has the table rows now, whatever the transaction''s snapshot shows?';

CREATE FUNCTION payments.guard_salt() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	-- Before data are restored into tables that setup() has made, its own one gives way to theirs.
	IF tg_op = 'DELETE' THEN
		LOCK TABLE payments.operation IN SHARE MODE;
		IF NOT payments._has_rows('operation') THEN
			RETURN old;
		END IF;
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'PY003',
		MESSAGE = 'the salt of an installation does not change',
		DETAIL = 'The keys and references of its operations at PSPs derive from it.',
		HINT = 'Restore into a database in which nothing was accepted yet.';
END
$$;
COMMENT ON FUNCTION payments.guard_salt() IS 'Trigger: refuses another salt, and its loss once an operation derives from it (PY003).';

CREATE FUNCTION payments._is_retiring() RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pay_is_retiring';
COMMENT ON FUNCTION payments._is_retiring() IS 'Internal: is this within retire_partitions()?';

-- A row of these excuses what is missing, and stops what would read it.  A restore brings them before there
-- is a block, or as a superuser; what such a one makes up is for verify() to find.
CREATE FUNCTION payments.guard_retired() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF payments._is_retiring()
		OR NOT payments._has_rows('seal')
		-- A subscription, which applies rows as the owner of the table; only superusers set it.
		OR current_setting('session_replication_role') = 'replica'
		OR (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		RETURN new;
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'PY003',
		MESSAGE = format('rows of table "%s" are written by retire_partitions() alone', tg_table_name),
		HINT = 'Retire months with it, and restore data alone as a superuser.';
END
$$;
COMMENT ON FUNCTION payments.guard_retired() IS
'Trigger: refuses what retire_partitions() has not written, but for superusers, and before anything is sealed (PY003).';

CREATE FUNCTION payments.forget_salt() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_forget_cached';
COMMENT ON FUNCTION payments.forget_salt() IS 'Trigger: tells every session to read installation_salt anew.';

CREATE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.currency
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
CREATE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.amount_limit
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
CREATE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.psp_currency
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();

CREATE FUNCTION payments._tables()
	RETURNS TABLE (
		name text, rows text, guards text[], seal_key text[], partition_key text, partition_type text,
		app_reads boolean, merchant_by text, merchant_in text
	)
	LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 60 AS 'MODULE_PATHNAME', 'pay_tables';
COMMENT ON FUNCTION payments._tables() IS
'Internal: the tables that setup() makes, by name, and what holds for their rows, as compiled into the library: src/core/table.h says what the columns mean. guards: the triggers that must be there.';

-- Under the name of a guard there may be another trigger: one that fires for something else, under a condition, or
-- calls a function of others.
CREATE FUNCTION payments._guards_off() RETURNS TABLE (root text, tbl text, guard text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT d.name, c.relname, g.trg
	FROM payments._tables() d
	CROSS JOIN unnest(d.guards) g (trg)
	-- Its partitions, too.
	JOIN LATERAL (
		SELECT to_regclass('payments.' || d.name)::oid AS oid, d.name AS relname
		UNION ALL
		SELECT p.oid, p.relname
		FROM pg_inherits i
		JOIN pg_class p ON p.oid = i.inhrelid
		WHERE i.inhparent = to_regclass('payments.' || d.name)
	) c ON true
	-- Bits of tgtype: each row 1, before 2, insert 4, delete 8, update 16, truncate 32.
	CROSS JOIN LATERAL (
		SELECT CASE WHEN g.trg IN ('guard_truncate', 'guard_delete') THEN 'guard_append_only' ELSE g.trg END,
			CASE g.trg
				WHEN 'guard_truncate' THEN 2 + 32
				WHEN 'guard_delete' THEN 1 + 2 + 8
				WHEN 'guard_append_only'
					THEN 1 + 2 + 16 + CASE d.rows WHEN 'append_only' THEN 8 ELSE 0 END
				WHEN 'guard_facts' THEN 1 + 2 + 4 + 8 + 16
				WHEN 'guard_status' THEN 1 + 4
				WHEN 'guard_account' THEN 1 + 2 + 16 + CASE d.name WHEN 'account' THEN 4 + 8 ELSE 0 END
				WHEN 'guard_salt' THEN 1 + 2 + 8 + 16
				WHEN 'guard_retired' THEN 1 + 2 + 4
				WHEN 'guard_psp' THEN 1 + 2 + 8 + 16
				WHEN 'guard_installation' THEN 1 + 2 + 8 + 16
			END,
			CASE g.trg WHEN 'guard_psp' THEN 4 ELSE 0 END
	) must (function, type, columns)
	LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = g.trg
	WHERE (t.tgenabled::text, t.tgfoid, t.tgtype::int, t.tgqual IS NULL, cardinality(t.tgattr))
		IS DISTINCT FROM ('A', to_regproc('payments.' || must.function)::oid, must.type, true, must.columns)
$$;
COMMENT ON FUNCTION payments._guards_off() IS 'Internal: the guards of tables and their partitions that are missing, off, or another trigger.';

CREATE FUNCTION payments._require_setup() RETURNS void
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pay_require_setup_sql';
COMMENT ON FUNCTION payments._require_setup() IS 'Internal: raises PY001 before setup(); functions in C need not call it.';

CREATE FUNCTION payments._commit_durably() RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_commit_durably';
COMMENT ON FUNCTION payments._commit_durably() IS
'Internal: what this transaction writes is on disk when its COMMIT returns, whatever synchronous_commit says. For what a person has decided; functions in C call the server''s own.';

CREATE FUNCTION payments._require_merchant(merchant text) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_require_merchant_sql';
COMMENT ON FUNCTION payments._require_merchant(text) IS 'Internal: raises PY010 or 42501 unless the calling role may read what is the merchant''s.';

CREATE FUNCTION payments._is_resting(status text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_status_is_resting';
COMMENT ON FUNCTION payments._is_resting(text) IS 'Internal: true for final statuses and for those in which the next move is somebody else''s.';

CREATE FUNCTION payments._worker_pid() RETURNS int
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_worker_pid_sql';
COMMENT ON FUNCTION payments._worker_pid() IS 'Internal: process id of this database''s worker, null if none is running.';

CREATE FUNCTION payments._worker_trouble() RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_worker_trouble';
COMMENT ON FUNCTION payments._worker_trouble() IS
'Internal: what keeps this database''s worker from serving, or from starting; null when nothing is known to.';

CREATE FUNCTION payments._unarmed_reason() RETURNS text
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_unarmed_reason_sql';
COMMENT ON FUNCTION payments._unarmed_reason() IS 'Internal: why nothing is sent for real from here, null when armed.';
