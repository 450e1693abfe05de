-- Which cluster may send for real, and whether its worker runs.

CREATE FUNCTION payments.arm() RETURNS void
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_arm';
COMMENT ON FUNCTION payments.arm() IS
'Lets the worker send to real PSPs from here. Records system identifier, timeline, database, host and data directory, the last in a file outside of it with a token that changes with each start; a clone, a restore or a promoted standby differs in one of them and sends nothing until armed again. What is older than the arming is inquired before it is sent. The sandbox needs no arming, but must be named once there was one. Of a database and its copies that see the same file, one is armed. Raises PY405 on a standby, when the file cannot be written, or while a copy is armed whose worker runs.';

CREATE FUNCTION payments.disarm() RETURNS void
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_disarm';
COMMENT ON FUNCTION payments.disarm() IS 'Takes arm() back; calls already in flight end normally.';

CREATE FUNCTION payments.start_worker() RETURNS int
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_start_worker';
COMMENT ON FUNCTION payments.start_worker() IS
'Lets the worker of this database run and, where the library is not preloaded, starts it. Returns its process id. One started by hand does not come back after a crash of the server: preload in production.';

CREATE FUNCTION payments.stop_worker() RETURNS void
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_stop_worker';
COMMENT ON FUNCTION payments.stop_worker() IS 'No more calls to PSPs from this database until start_worker(); those already in flight end normally. Payments are still accepted and wait in the queue.';
