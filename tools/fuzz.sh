#!/usr/bin/env bash
# Runs every fuzz target below the given packages for a while each, as many at a time as there are cores. A finding is written
# to testdata/fuzz of its package and fails the run.
#
#   tools/fuzz.sh [TIME] [PACKAGE...]     default: 30s ./...
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZ_TIME=${1:-30s}
shift || true
[ $# -gt 0 ] || set -- ./...

one() { # DIR TARGET
	out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZ_TIME" -parallel 1 "$1" 2>&1) && status=0 || status=$?
	echo "== ${1#"$PWD"/} $2: $(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1)"
	# The fuzzer also fails when its time ends inside a slow input: only an input that it wrote down, or a test that does not
	# even begin, is a finding.
	[ $status = 0 ] || { grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input written' <<<"$out"; } || { echo "$out"; return 1; }
}
export -f one

for dir in $(go list -f '{{.Dir}}' "$@"); do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | cut -d' ' -f2); do
		echo "$dir $target"
	done
done | xargs -P "$(nproc)" -L 1 bash -c 'one "$@"' -
