#!/usr/bin/env bash
# A slice of make bench for make test: that every benchmark runs and its books
# agree.  Figures of so short a run mean nothing and are not looked at.
# Run as postgres from a staged tree, like the other suites.
set -u
root=$(mktemp -d "${TMPDIR:-/tmp}/payments-bench-XXXXXX")
trap 'rm -rf "$root"' EXIT
src=$(cd "$(dirname "$0")/../.." && pwd)
if out=$(/usr/bin/python3 "$src/test/bench/bench.py" --root "$root" --src "$src" --scale 0.02 2>&1) && [[ $out == *'check(): clean'* ]]; then
	printf '%s\nbench: 1 passed, 0 failed\n' "$out"
else
	printf '%s\nbench: 0 passed, 1 failed\n' "$out"
	exit 1
fi
