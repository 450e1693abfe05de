-- How the pgTAP files begin (\ir ../lib/prelude.sql): nothing but TAP comes
-- out, and what fails outside of a test ends the file, whoever runs psql.
\set QUIET 1
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only true
\pset pager off
