#!/usr/bin/env bash
# make bench: what the extension does a second, as ratios to pgbench's TPC-B in
# the same run on the same server.  Takes about ten minutes;
# ONLY='ten_thousand limited' takes some of them.  The machine
# should be idle: a ratio taken beside other work says little.
set -u
PAY_MORE_PACKAGES=wrk
. "$(dirname "$0")/../lib/stage.sh"
trap unstage EXIT
stage || exit 1
as_postgres /usr/bin/python3 "$SRC/test/bench/bench.py" --root "$STAGE" --src "$SRC" ${ONLY:+--only $ONLY} "$@"
