-- Which installation this is, for PSPs that several of them use.

CREATE FUNCTION payments.installation_tag() RETURNS text
	LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_installation_tag';
COMMENT ON FUNCTION payments.installation_tag() IS
'What the references begin with that this database gives to PSPs. Another database on the same account at a PSP has another one; a dump, a standby or a restore has the same.';

CREATE FUNCTION payments._is_foreign(reference text) RETURNS boolean
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_is_foreign';
COMMENT ON FUNCTION payments._is_foreign(text) IS 'Internal: has another installation given this reference?';
