-- Verbs act as payments_owner, and by the rights of whoever called them.  The
-- server's SECURITY DEFINER forgets who that was (src/core/caller.c), so no
-- function of ours is: verbs in C take these rights themselves, those in
-- PL/pgSQL by being in this language, in which only superusers can write.

CREATE FUNCTION payments._call_plpgsql() RETURNS language_handler
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_call_plpgsql';
COMMENT ON FUNCTION payments._call_plpgsql() IS 'Internal: runs a function in language "payments".';

CREATE LANGUAGE payments HANDLER payments._call_plpgsql VALIDATOR pg_catalog.plpgsql_validator;
COMMENT ON LANGUAGE payments IS 'PL/pgSQL whose functions act as payments_owner and know who called them.';

CREATE FUNCTION payments._caller() RETURNS name
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pay_caller_sql';
COMMENT ON FUNCTION payments._caller() IS
'Internal: the role that called the verb in which this is, whoever''s session it is; outside of verbs, the current role.';
