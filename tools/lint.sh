#!/bin/sh
# Runs the linters of .golangci.yml over everything, or over the packages named.
#
#   tools/lint.sh [./internal/store/...]
#
# Installs golangci-lint into .cache/tools when no binary of the right version is there; $GOLANGCI_LINT names another one.
set -eu

VERSION=2.15.0

cd "$(dirname "$0")/.."
lint=${GOLANGCI_LINT:-}

good() { [ -n "$1" ] && command -v "$1" >/dev/null 2>&1 && "$1" version 2>/dev/null | grep -q "version v\{0,1\}$VERSION\b"; }

if [ -z "$lint" ]; then
	for lint in golangci-lint .cache/tools/golangci-lint; do
		if good "$lint"; then break; fi
	done
	if ! good "$lint"; then
		echo "lint: installing golangci-lint $VERSION into .cache/tools" >&2
		mkdir -p .cache/tools
		GOBIN="$PWD/.cache/tools" go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$VERSION"
		lint=.cache/tools/golangci-lint
	fi
fi

[ $# -gt 0 ] || set -- ./...
exec "$lint" run --allow-parallel-runners "$@"
