#!/usr/bin/env bash
# Calls the functions of planted.c, each in a server that may die of it: part of test/sanitize.
set -u
stage=$1
bin=$("${PG_CONFIG:-pg_config}" --bindir)
data=$stage/planted
"$bin/initdb" -D "$data" -U postgres -A trust -N > /dev/null || exit 1
printf "listen_addresses = ''\nunix_socket_directories = '%s'\nfsync = off\nrestart_after_crash = on\n" "$stage" >> "$data/postgresql.conf"
"$bin/pg_ctl" -D "$data" -l "$stage/planted.server.log" -w start || exit 1
trap '"$bin/pg_ctl" -D "$data" -m immediate -w stop; rm -rf "$data"' EXIT
export PGHOST=$stage PGUSER=postgres PGDATABASE=postgres
for call in 'overflow:2147483647' 'shift:40' 'heap:40' 'stack:17' 'freed:40'; do
	until "$bin/pg_isready" -q; do sleep 0.2; done
	"$bin/psql" -qXc "CREATE FUNCTION ${call%:*}(int) RETURNS int LANGUAGE c AS '$stage/planted', '${call%:*}'"
	"$bin/psql" -qXc "SELECT ${call%:*}(${call#*:})"
done
exit 0
