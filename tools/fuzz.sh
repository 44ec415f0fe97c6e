#!/usr/bin/env bash
# Runs every fuzz target below the given packages for a while each. A finding is written to testdata/fuzz of its package and
# fails the run.
#
#   tools/fuzz.sh [TIME] [PACKAGE...]     default: 30s ./...
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
shift || true
[ $# -gt 0 ] || set -- ./...
failed=0
for dir in $(go list -f '{{.Dir}}' "$@"); do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | cut -d' ' -f2); do
		echo "== ${dir#"$PWD"/} $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir" | tail -n 3 || failed=1
	done
done
exit $failed
