#!/usr/bin/env bash
# If this does not pass, the verbs, guards and checks do not hold what the
# documents promise, whether or not a worker runs.
#
# Runs pg_regress, the isolation specs and pgTAP against a throwaway cluster on
# a unix socket.  As root it stages a copy of the tree first (test/lib/stage.sh);
# from a staged tree it is run as the user that servers run as:
#
#	test/lib/regress.sh [--preload] [regress|isolation|pgtap ...]
#
# Prints "SUITE: N passed, M failed" for each, and fails if anything did.
# --preload: the library is preloaded, so that the DDL guard is in place; the
# worker stays off, the tests are the same.
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
if [ "$(id -u)" -eq 0 ]; then
	. "$here/test/lib/stage.sh"
	trap unstage EXIT
	stage "${STAGE_DIR:-}" || exit 1
	as_postgres "$SRC/test/lib/regress.sh" "$@"
	exit $?
fi

preload=
[ "${1:-}" = --preload ] && { preload=1; shift; }
suites=${*:-regress isolation pgtap}
bin=$("${PG_CONFIG:-pg_config}" --bindir)
# The path of a unix socket must be short.
run=$(mktemp -d "${TMPDIR:-/tmp}/pay-XXXXXX")
data=$run/data
# Golden files, for what psql reads beside a script.
export PAY_TEST_DIR=$here/test
export PGHOST=$run PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PGOPTIONS=
failed_any=0

stop() {
	"$bin/pg_ctl" -D "$data" -m immediate -w stop > /dev/null 2>&1
	rm -rf "$run"
}
trap stop EXIT
trap 'exit 130' INT TERM

"$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C -N > "$run/initdb.log" 2>&1 || { cat "$run/initdb.log"; exit 1; }
cat >> "$data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$run'
fsync = off
max_connections = 50
timezone = 'UTC'
${preload:+shared_preload_libraries = 'payments'}
CONF
"$bin/pg_ctl" -D "$data" -l "$run/server.log" -w start > /dev/null || { cat "$run/server.log"; exit 1; }

report() {
	echo "$1: $2 passed, $3 failed"
	[ "$3" -eq 0 ] || failed_any=1
}

# installcheck runs both kinds; one of them is switched off here.
installcheck() {
	local suite=$1 off=$2 output=$run/$1.out passed failed
	make -s -C "$here" with_llvm=no "PG_CONFIG=${PG_CONFIG:-pg_config}" "$off=" installcheck > "$output" 2>&1
	passed=$(grep -cE '^test .* \.\.\. ok|^ok +[0-9]+' "$output")
	failed=$(grep -cE '^test .* \.\.\. FAILED|^not ok +[0-9]+' "$output")
	if [ "$failed" -gt 0 ] || [ "$passed" -eq 0 ]; then
		cat "$output"
		cat "$here/test/output/regression.diffs" 2> /dev/null
		[ "$failed" -gt 0 ] || failed=1
	fi
	report "$suite${preload:+ (preloaded)}" "$passed" "$failed"
}

# Each file in a database of its own: nothing that one leaves behind helps or hurts another.
pgtap() {
	local file name status ran ok bad passed=0 failed=0
	for file in "$here"/test/pgtap/*.sql; do
		name=$(basename "$file" .sql)
		"$bin/psql" -qX -v ON_ERROR_STOP=1 -c "CREATE DATABASE tap_$name" &&
			"$bin/psql" -qX -v ON_ERROR_STOP=1 -d "tap_$name" -o /dev/null \
				-c 'CREATE EXTENSION payments' -c 'SELECT payments.setup()' -c 'CREATE EXTENSION pgtap' || { failed=$((failed + 1)); continue; }
		pg_prove --failures --comments -d "tap_$name" --psql-bin "$bin/psql" "$file" > "$run/$name.prove" 2>&1
		status=$?
		ran=$(sed -n 's/^Files=[0-9]*, Tests=\([0-9]*\),.*/\1/p' "$run/$name.prove")
		bad=$(sed -n 's/.*(Wstat: .*Tests: [0-9]* Failed: \([0-9]*\)).*/\1/p' "$run/$name.prove" | head -1)
		ok=$((${ran:-0} - ${bad:-0}))
		# A file that ends early, or whose plan is wrong, has failed whatever its tests say.
		if [ "$status" -ne 0 ]; then
			cat "$run/$name.prove"
			[ "${bad:-0}" -gt 0 ] || bad=1
		fi
		passed=$((passed + ok))
		failed=$((failed + ${bad:-0}))
	done
	report "pgtap${preload:+ (preloaded)}" "$passed" "$failed"
}

for suite in $suites; do
	case $suite in
		regress) installcheck regress ISOLATION ;;
		isolation) installcheck isolation REGRESS ;;
		pgtap) pgtap ;;
		*) echo "no such suite: $suite" >&2; exit 2 ;;
	esac
done
exit $failed_any
