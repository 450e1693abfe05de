#!/usr/bin/env bash
# Runs the TAP scripts side by side, from the staged tree in which this file
# lies: the server must be installed where pg_config on the PATH (or PG_CONFIG)
# says, and the caller must not be root.
#
#	. test/lib/stage.sh; stage; as_postgres bash "$SRC/test/lib/tap.sh" [NAME ...]
#
# What the servers logged stays in test/output/tap of that tree (TEST_OUTPUT:
# somewhere else).  They mostly wait, so more run at once than there are cores
# (PAY_TAP_JOBS).
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pg_config=${PG_CONFIG:-pg_config}
pgxs=$(cd "$(dirname "$("$pg_config" --pgxs)")/.." && pwd)
output=${TEST_OUTPUT:-$here/output}/tap

# The longest first, so that none of them ends alone; the order means nothing else.
if [ $# -eq 0 ]; then
	longest=(reconcile_job feeds sealing cron docs new_table adapters statement_pages partitions bad_answers races worker_life close)
	set -- "${longest[@]}" $(cd "$here/t" && ls *.pl | sed 's/\.pl$//' | grep -vxF "$(printf '%s\n' "${longest[@]}")")
fi
# A failed run leaves its data directories behind, and Cluster.pm refuses to reuse them.
rm -rf "$output"
mkdir -p "$output"
PATH="$("$pg_config" --bindir):$PATH"
# Up to 15 the first is looked at, from 16 on the other two.
TESTDIR=$output
TESTDATADIR=$output/tmp_check
TESTLOGDIR=$output/tmp_check/log
PG_REGRESS=$pgxs/test/regress/pg_regress
# Only what hangs should ever meet them, and not what a busy machine delays.
PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-300}
PGCTLTIMEOUT=${PGCTLTIMEOUT:-300}
export PATH TESTDIR TESTDATADIR TESTLOGDIR PG_REGRESS PG_TEST_TIMEOUT_DEFAULT PGCTLTIMEOUT
# What a script's first server begins as, made once: initdb and setup() take longer than many a test.
# PAY_TAP_TEMPLATE: the folder of "bare", and of "installed", which has the extension set up.
PAY_TAP_TEMPLATE=$output/template
export PAY_TAP_TEMPLATE
template() {
	mkdir "$PAY_TAP_TEMPLATE" && cd "$PAY_TAP_TEMPLATE" &&
		initdb -D bare -A trust -N --encoding=UTF8 --locale=C > log && cp -a bare installed &&
		pg_ctl -D installed -l log -w -o "-c fsync=off -c listen_addresses='' -c unix_socket_directories='$PAY_TAP_TEMPLATE'" start &&
		psql -qX -h "$PAY_TAP_TEMPLATE" -v ON_ERROR_STOP=1 -d postgres -c 'CREATE EXTENSION payments' -c 'SELECT FROM payments.setup()'
	status=$?
	pg_ctl -D installed -m fast -w stop
	rm -f installed/postmaster.opts
	return $status
}
(template) > "$output/template.log" 2>&1 || { cat "$output/template.log" "$PAY_TAP_TEMPLATE/log"; exit 1; }
set -- "${@/#/$here/t/}"
exec prove -j "${PAY_TAP_JOBS:-4}" --timer -I "$pgxs/test/perl" -I "$here/lib" "${@/%/.pl}"
