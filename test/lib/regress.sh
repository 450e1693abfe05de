#!/usr/bin/env bash
# If this does not pass, the verbs, guards and checks do not hold what the
# documents promise, whether or not a worker runs.
#
# Runs tests of one kind against a throwaway cluster on a unix socket, from the
# staged tree in which this file lies, as a user that servers run as:
#
#	test/lib/regress.sh [--preload] regress|isolation|pgtap [NAME ...]
#
# Ends with "KIND: N passed, M failed", and fails if anything did.  --preload:
# the library is preloaded, so that the DDL guard is in place; the worker stays
# off, the tests are the same.  TEST_OUTPUT: where results go (test/output).
set -u

here=$(cd "$(dirname "$0")/../.." && pwd)
preload= hostile=
[ "${1:-}" = --preload ] && { preload=1; shift; }
[ "${1:-}" = --hostile ] && { hostile=1; shift; }
kind=${1:?which kind}
shift
bin=$("${PG_CONFIG:-pg_config}" --bindir)
output=${TEST_OUTPUT:-$here/test/output}
# The path of a unix socket must be short.
run=$(mktemp -d "${TMPDIR:-/tmp}/pay-XXXXXX")
data=$run/data
# Golden files, for what psql reads beside a script.
export PAY_TEST_DIR=$here/test
export PGHOST=$run PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PGOPTIONS= PGCTLTIMEOUT=300

# A process that is killed does not say which lines it ran.
stop() {
	"$bin/pg_ctl" -D "$data" -m "$([ "${PAY_BUILD:-}" = coverage ] && echo fast || echo immediate)" -w stop > /dev/null 2>&1
	rm -rf "$run"
}
trap stop EXIT
trap 'exit 130' INT TERM

"$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C -N > "$run/initdb.log" 2>&1 || { cat "$run/initdb.log"; exit 1; }
# With it tests sign webhooks.
(umask 077 && echo 'tap.webhook = whsec_of_the_tests' > "$run/secrets")
cat >> "$data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$run'
fsync = off
jit = off
max_connections = 50
timezone = 'UTC'
payments.arming_file = '$run/armed'
payments.secrets_file = '$run/secrets'
payments.psp_hosts = 'one.example, two.example, three.example, stripe.example, missed.example'
${preload:+shared_preload_libraries = 'payments'}
CONF
[ -z "$hostile" ] || cat "$here/test/lib/hostile.conf" >> "$data/postgresql.conf"
"$bin/pg_ctl" -D "$data" -l "$run/server.log" -w start > /dev/null || { cat "$run/server.log"; exit 1; }

report() {
	echo "$kind${preload:+ (preloaded)}: $1 passed, $2 failed"
	[ "$2" -eq 0 ] && [ "$1" -gt 0 ]
	exit
}

# Was it run, and is its output as expected?  Servers from 16 on say so in TAP.
went_well() { grep -qE "^test $1 +\.\.\. ok|^ok +[0-9]+ +[-+] $1 " "$2"; }

# installcheck OFF LIST FOLDER [NAME ...]: installcheck runs both kinds; one of them is switched off here.
# pg_regress stops at what it cannot read: who was not run has failed, whatever others did.
installcheck() {
	local off=$1 list=$2 folder=$3 log=$run/installcheck.log tests=() name status passed=0 failed=0
	shift 3
	# The first makes the tables that the others use.
	[ $# -eq 0 ] || tests=("$list=$([ "$list" != REGRESS ] || echo setup) $(printf '%s\n' "$@" | grep -vxF setup | tr '\n' ' ')")
	make -s -C "$here" with_llvm=no "PG_CONFIG=${PG_CONFIG:-pg_config}" "TEST_OUTPUT=$output" "$off=" "${tests[@]}" installcheck > "$log" 2>&1
	status=$?
	[ $# -gt 0 ] || set -- $(cd "$here/test/$folder" && ls | sed 's/\.[a-z]*$//')
	for name in "$@"; do
		if went_well "$name" "$log"; then
			passed=$((passed + 1))
		else
			echo "FAIL: $name" >> "$log"
			failed=$((failed + 1))
		fi
	done
	# One that nobody asked for, or the end of all.
	[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
	if [ "$failed" -gt 0 ]; then
		cat "$log"
		cat "$output/regression.diffs" 2> /dev/null
	fi
	report "$passed" "$failed"
}

# The database that those of pgTAP are copies of.  It is too young for autovacuum, which would tell the planner of it.
pgtap_template() {
	"$bin/psql" -qX -v ON_ERROR_STOP=1 -c 'CREATE DATABASE prepared' &&
		"$bin/psql" -qX -v ON_ERROR_STOP=1 -d prepared -o /dev/null \
			-c 'CREATE EXTENSION payments' -c 'SELECT payments.setup()' -c 'CREATE EXTENSION pgtap' &&
		"$bin/psql" -AtqX -d prepared -c "SELECT format('ANALYZE %s;', oid::regclass) FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'" |
			"$bin/psql" -qX -v ON_ERROR_STOP=1 -d prepared
}

# Each file in a database of its own: nothing that one leaves behind helps or hurts another.
pgtap() {
	local name status ran bad began passed=0 failed=0
	pgtap_template || report 0 1
	[ $# -gt 0 ] || set -- $(cd "$here/test/pgtap" && ls *.sql | sed 's/\.sql$//')
	for name in "$@"; do
		"$bin/psql" -qX -v ON_ERROR_STOP=1 -c "CREATE DATABASE tap_$name TEMPLATE prepared" || { failed=$((failed + 1)); continue; }
		began=$SECONDS
		pg_prove --failures --comments -d "tap_$name" --psql-bin "$bin/psql" "$here/test/pgtap/$name.sql" > "$run/$name.prove" 2>&1
		status=$?
		ran=$(sed -n 's/^Files=[0-9]*, Tests=\([0-9]*\),.*/\1/p' "$run/$name.prove")
		bad=$(sed -n 's/.*(Wstat: .*Tests: [0-9]* Failed: \([0-9]*\)).*/\1/p' "$run/$name.prove" | head -1)
		# A file that ends early, or whose plan is wrong, has failed whatever its tests say.
		if [ "$status" -ne 0 ]; then
			cat "$run/$name.prove"
			[ "${bad:-0}" -gt 0 ] || bad=1
		fi
		echo "$name: ${ran:-0} tests in $((SECONDS - began)) s"
		passed=$((passed + ${ran:-0} - ${bad:-0}))
		failed=$((failed + ${bad:-0}))
	done
	report "$passed" "$failed"
}

case $kind in
	regress) installcheck ISOLATION REGRESS sql "$@" ;;
	isolation) installcheck REGRESS ISOLATION specs "$@" ;;
	pgtap) pgtap "$@" ;;
	*) echo "no such kind: $kind" >&2; exit 2 ;;
esac
