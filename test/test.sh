#!/usr/bin/env bash
# make test: everything that can be proved without a person, on a copy of the
# tree and a private copy of PostgreSQL (test/stage.sh).  No cluster that is
# there is touched; no process and no folder stays.
#
#	test/test.sh [build clang guards unit fuzz peer sql sql-preloaded tap model bench faults attack]
#
# Prints a line a suite, the logs of those that failed, and at the very end
# "N passed, N failed".  A suite that cannot run is a failure.
set -u
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$project" || exit 1
PAY_MORE_PACKAGES='chromium poppler-utils'
. test/stage.sh
exec < /dev/null 2>&1

suites=(build clang guards unit fuzz peer sql sql-preloaded tap model bench)
[ $# -eq 0 ] || suites=("$@")
passed_sum=0 failed_sum=0 job=
TAIL=60

# Sockets lie below this, and their paths must be short.
base=${TMPDIR:-/tmp}
[ ${#base} -le 30 ] || base=/tmp
STAGE=$(mktemp -d "$base/payments-test-XXXXXX") || exit 1

# Servers make sessions of their own, so the job's end is not theirs.
stop_servers() {
	local file pid tries
	while IFS= read -r file; do
		pid=$(head -1 "$file" 2> /dev/null)
		[[ $pid =~ ^[0-9]+$ ]] && [[ $(readlink "/proc/$pid/cwd") == "$STAGE"/* ]] || continue
		kill -QUIT "$pid" 2> /dev/null
		for ((tries = 0; tries < 100; tries++)); do
			kill -0 "$pid" 2> /dev/null || break
			sleep 0.1
		done
	done < <(find "$STAGE" -name postmaster.pid 2> /dev/null)
}

clean_up() {
	trap - EXIT
	if [ -n "$job" ]; then
		kill -TERM -- "-$job" 2> /dev/null
		wait "$job" 2> /dev/null
	fi
	stop_servers
	rm -rf "$STAGE"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In a process group of its own, so that all of it can be ended.
run() {
	set -m
	"$@" > "$log" 2>&1 &
	job=$!
	set +m
	wait "$job"
	local status=$?
	job=
	return $status
}

staged() {
	local limit=$1
	shift
	TMPDIR=$STAGE/tmp as_postgres timeout -k 20 "$limit" "$@"
}

count() { grep -acE -- "$1" "$log"; }

# report NAME PASSED FAILED STATUS: a suite that ended badly has failed somewhere.
report() {
	local name=$1 passed=$2 failed=$3 status=$4
	[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
	[ $((passed + failed)) -gt 0 ] || failed=1
	[ "$status" -ne 124 ] || echo "timed out" >> "$log"
	passed_sum=$((passed_sum + passed))
	failed_sum=$((failed_sum + failed))
	if [ "$failed" -gt 0 ]; then
		details "$name" | tr -d '\000-\010\013-\037'
	fi
	printf '%s: %d passed, %d failed (%d s)\n' "$name" "$passed" "$failed" $((SECONDS - started))
}

# What a CI machine shows is all that there is to debug with.
details() {
	local lines server
	lines=$(wc -l < "$log")
	if [ "$lines" -gt "$TAIL" ]; then
		echo "--- $1: complaints"
		grep -anE -A 12 '^not ok|Failed test|warning:|error:|^FAIL:|^ERROR:|\.\.\. FAILED' "$log" | head -100
		# Of pg_regress, the differences.
		grep -anE '^(diff |[-+])' "$log" | head -60
	fi
	echo "--- $1: last lines"
	tail -n "$TAIL" "$log"
	if [ "$1" = tap ] || [ "$1" = faults ]; then
		while IFS= read -r server; do
			echo "--- $1: last lines of $(basename "$server")"
			tail -n 20 "$server"
		done < <(grep -aoE '[^/ ]+\.pl +\(Wstat' "$log" | sed 's|\.pl.*||' | head -4 |
			while IFS= read -r script; do find "$SRC/test/output" -name "regress_log_$script"; done)
	fi
	echo "---"
}

# ---------- suites: each sets status, passed and failed from $log ----------

suite_build() {
	# Not by run(): it sets what the others need.
	stage "$STAGE" > "$log" 2>&1
	status=$?
	cat "$STAGE/build.log" >> "$log" 2> /dev/null
	failed=$(count 'warning:')
	passed=$((status == 0 && failed == 0))
}

# Another compiler warns of other things.
compile_clang() {
	local include file bad=0
	include=$("$PG_CONFIG" --includedir-server)
	for file in "$SRC"/src/*.c; do
		clang -fsyntax-only -std=gnu99 -O2 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-ignored-attributes \
			-Werror=implicit-function-declaration -Werror=vla -Werror=switch "-DPAY_VERSION=\"0\"" \
			-isystem "$include" "$file" 2>&1 || bad=1
	done
	return $bad
}

suite_clang() {
	run compile_clang
	status=$?
	failed=$(count '(warning|error):')
	passed=$((status == 0 && failed == 0))
}

suite_guards() {
	run staged 120 bash "$SRC/ci/all"
	status=$?
	passed=$(count '^ok - ')
	failed=$(count '^not ok - ')
}

suite_unit() {
	run staged 300 make -s -k -C "$SRC/test/unit" "PG_CONFIG=$PG_CONFIG" run
	status=$?
	passed=$(count '^ok [0-9]')
	failed=$(count '^not ok [0-9]')
}

fuzz_all() {
	local seconds=${PAY_FUZZ_SECONDS:-4} target
	for target in "$SRC"/test/fuzz/fuzz_*.c; do
		basename "$target" .c
	done | staged $((600 + seconds * 10)) xargs -P 2 -I {} bash -c '
		if make -s -C "$1" "PG_CONFIG=$2" "SECONDS=$3" run-{} > "$4/{}.log" 2>&1; then echo "ok - {}"
		else tail -40 "$4/{}.log"; echo "not ok - {}"; fi' - "$SRC/test/fuzz" "$PG_CONFIG" "$seconds" "$STAGE/tmp"
}

suite_fuzz() {
	run fuzz_all
	status=$?
	passed=$(count '^ok - ')
	failed=$(count '^not ok - ')
}

suite_peer() {
	local ran
	run staged 300 /usr/bin/python3 "$SRC/test/psp/test_stripe_peer.py"
	status=$?
	ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\}.*/\1/p' "$log" | tail -1)
	failed=$(count '^(FAIL|ERROR): ')
	passed=$((${ran:-0} > failed ? ran - failed : 0))
}

# run_sql.sh prints "SUITE: N passed, M failed".
sql() {
	if [ ! -e "$SRC/test/run_sql.sh" ]; then
		echo "test/run_sql.sh is missing" > "$log"
		status=1
		return
	fi
	run staged 400 bash "$SRC/test/run_sql.sh" "$@"
	status=$?
	passed=$(sed -nE 's/^[a-z]+.*: ([0-9]+) passed, [0-9]+ failed$/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	failed=$(sed -nE 's/^[a-z]+.*: [0-9]+ passed, ([0-9]+) failed$/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
}
suite_sql() { sql; }
suite_sql-preloaded() { sql --preload; }

# Counts the tests inside of the scripts; one that ended badly otherwise counts as one failed.
tap() {
	local tests
	if [ ! -e "$SRC/test/run_tap.sh" ]; then
		echo "test/run_tap.sh is missing" > "$log"
		status=1
		return
	fi
	run staged 1000 bash "$SRC/test/run_tap.sh" "$@"
	status=$?
	tests=$(sed -nE 's/^Files=[0-9]+, Tests=([0-9]+),.*/\1/p' "$log" | tail -1)
	failed=$(sed -nE 's/.*\(Wstat: .* Tests: [0-9]+ Failed: ([0-9]+)\).*/\1/p' "$log" | awk '{ n += $1 > 0 ? $1 : 1 } END { print n + 0 }')
	passed=$((${tests:-0} > failed ? tests - failed : 0))
}
suite_tap() { tap; }

suite_faults() {
	local scripts
	mapfile -t scripts < <(ls "$SRC"/test/t/*fault*.pl 2> /dev/null)
	if [ ${#scripts[@]} -eq 0 ]; then
		echo "there is no test/t/*fault*.pl" > "$log"
		status=1
		return
	fi
	tap "${scripts[@]}"
}

suite_attack() { tap "$SRC/test/t/014_ledger_attack.pl"; }

# A new seed each time: the log says which, and so does this.
suite_model() {
	local operations=${PAY_MODEL_OPS:-15000}
	run staged $((150 + operations / 200)) /usr/bin/python3 "$SRC/test/model/run.py" --root "$STAGE/tmp/model" --ops "$operations" \
		--block $((operations < 50000 ? operations / 5 + 1 : 10000)) ${PAY_MODEL_SEED:+--seed "$PAY_MODEL_SEED"} --self-test
	status=$?
	passed=$(count '^ok - ')
	failed=$(count '^not ok - ')
	grep -E '^seed |^[0-9]+ operations' "$log"
}

suite_bench() {
	if [ ! -e "$SRC/test/bench/smoke.sh" ]; then
		skip=1
		return
	fi
	run staged 300 bash "$SRC/test/bench/smoke.sh"
	status=$?
	passed=$((status == 0))
}

# ---------- all of them ----------

# Without the build nothing else means anything.
[ "${suites[0]}" = build ] || suites=(build "${suites[@]}")
for suite in "${suites[@]}"; do
	status=0 passed=0 failed=0 skip=0 started=$SECONDS
	log=$STAGE/suite-$suite.log
	: > "$log"
	printf '\n== %s\n' "$suite"
	if ! declare -F "suite_$suite" > /dev/null; then
		echo "no such suite"
		failed_sum=$((failed_sum + 1))
		continue
	fi
	"suite_$suite"
	stop_servers
	if [ "$skip" = 1 ]; then
		echo "$suite: none"
		continue
	fi
	report "$suite" "${passed:-0}" "${failed:-0}" "$status"
	[ "$suite" = build ] && [ "$status" -ne 0 ] && break
	mkdir -p "$STAGE/tmp" && chmod 1777 "$STAGE/tmp"
done

clean_up
printf '\n%d passed, %d failed\n' "$passed_sum" "$failed_sum"
[ "$failed_sum" -eq 0 ]
