-- How PSPs are.

CREATE FUNCTION payments._health_of(
	psp text, OUT state text, OUT until timestamptz, OUT in_flight_max int, OUT calls int, OUT failures int,
	OUT p50_ms int, OUT p99_ms int, OUT failed_at timestamptz, OUT failure text
)
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_health_of';
COMMENT ON FUNCTION payments._health_of(text) IS
'Internal: how a PSP is, as routing sees it, and how the last calls to it went; null is what is not known here, such as without preloading.';
