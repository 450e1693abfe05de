#!/usr/bin/env bash
# Runs the TAP scripts, two at a time, from the staged tree in which this file
# lies: the server must be installed where pg_config on the PATH (or PG_CONFIG)
# says, and the caller must not be root.  Arguments: scripts; default all.
#
#	. test/lib/stage.sh; stage; as_postgres bash "$SRC/test/lib/tap.sh"
#
# What the servers logged stays in test/output/tap of that tree.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pg_config=${PG_CONFIG:-pg_config}
pgxs=$(cd "$(dirname "$("$pg_config" --pgxs)")/.." && pwd)

[ $# -gt 0 ] || set -- "$here"/t/*.pl
# A failed run leaves its data directories behind, and Cluster.pm refuses to reuse them.
rm -rf "$here/output/tap"
mkdir -p "$here/output/tap"
PATH="$("$pg_config" --bindir):$PATH"
TESTDIR=$here/output/tap
PG_REGRESS=$pgxs/test/regress/pg_regress
# Long enough for a machine that does other things as well, short enough to be waited for.
PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-60}
export PATH TESTDIR PG_REGRESS PG_TEST_TIMEOUT_DEFAULT
exec prove -j "${PAY_TAP_JOBS:-2}" --timer -I "$pgxs/test/perl" -I "$here/lib" "$@"
