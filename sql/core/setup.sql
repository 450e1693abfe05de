-- Making the tables, bringing them up to date, and waking the worker.

CREATE FUNCTION payments.setup() RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_setup';
COMMENT ON FUNCTION payments.setup() IS
'Makes the tables, views and triggers of payments in this database, the merchant "default" and the PSP "sandbox". May be run again at any time: it makes what is missing and changes nothing else.';

CREATE FUNCTION payments.migrate() RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments.setup();
	UPDATE payments.installation
	SET schema_version = payments.version()
	WHERE schema_version <> payments.version();
END
$$;
COMMENT ON FUNCTION payments.migrate() IS
'After ALTER EXTENSION payments UPDATE: brings the tables to the version of the extension.';

CREATE FUNCTION payments._wake_worker() RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_wake_worker';
COMMENT ON FUNCTION payments._wake_worker() IS 'Internal: wakes the worker at commit.';
