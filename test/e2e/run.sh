#!/usr/bin/env bash
# Runs the official 0.x clients, unmodified, against a real server, and the tests of what happens when the server dies.
#
#   test/e2e/run.sh [--kills N] [--cycles N] [SUITE]...     without names: all of them
#
# python, typescript, go: every family of calls by the newest clients. python-2025, typescript-2025: by the newest of that year;
# what they have no calls for is skipped, with the reason. desktop: the snapshot desktop, where it is built. recovery.
#
# --kills: how often the recovery suite kills the server under load (default 10).
# --cycles: how many sandboxes it makes and deletes to look for what is left behind (default 60).
# desktop needs the snapshot of that name (make desktop) and says so where it is missing.
# DUGOUT_BIN is the program (default: bin/dugout of this tree). Needs root. Each suite ends in a line "N passed, N failed".
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${E2E_CACHE:-$root/.cache/e2e}
DUGOUT_BIN=${DUGOUT_BIN:-$root/bin/dugout}
export DUGOUT_BIN
# shellcheck source=versions.env
. "$here/versions.env"

kills=10 cycles=60 suites=()
while [ $# -gt 0 ]; do
	case $1 in
	--kills) kills=$2; shift ;;
	--cycles) cycles=$2; shift ;;
	python | python-2025 | typescript | typescript-2025 | go | desktop | recovery) suites+=("$1") ;;
	*) echo "run.sh: $1 is not a suite: python, python-2025, typescript, typescript-2025, go, desktop or recovery" >&2; exit 2 ;;
	esac
	shift
done
[ ${#suites[@]} -gt 0 ] || suites=(python python-2025 typescript typescript-2025 go desktop recovery)
[ "$(id -u)" = 0 ] || { echo "run.sh: must run as root: the server makes sandboxes" >&2; exit 2; }
[ -x "$DUGOUT_BIN" ] || { echo "run.sh: $DUGOUT_BIN is not there; run make build" >&2; exit 2; }
mkdir -p "$cache"

# install_python FOLDER RELEASE puts a client into a folder of the cache.
install_python() {
	[ "$(cat "$cache/$1/.version" 2>/dev/null)" = "$2 $PYTHON_PYTEST" ] && return
	rm -rf "${cache:?}/$1"
	python3 -m venv "$cache/$1"
	"$cache/$1/bin/pip" install -q --disable-pip-version-check "daytona==$2" "pytest==$PYTHON_PYTEST"
	echo "$2 $PYTHON_PYTEST" >"$cache/$1/.version"
}

# install_npm FOLDER PACKAGE@RELEASE... does the same.
install_npm() {
	folder=$1
	shift
	[ "$(cat "$cache/$folder/.version" 2>/dev/null)" = "$*" ] && return
	rm -rf "${cache:?}/$folder"
	mkdir -p "$cache/$folder"
	(cd "$cache/$folder" && npm init -y >/dev/null 2>&1 && npm install --silent --no-audit --no-fund "$@")
	echo "$*" >"$cache/$folder/.version"
}

# typescript FOLDER PACKAGE FILE... runs tests with the package of that folder.
typescript() {
	echo "-- $2"
	for file in "${@:3}"; do
		E2E_PACKAGE=$2 NODE_PATH=$cache/$1/node_modules node "$here/typescript/$file.cjs" || failed=1
	done
}

server='' work=''
stop_server() {
	status=$?
	trap - EXIT
	if [ -n "$server" ]; then
		kill -TERM "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	if [ -n "$work" ]; then
		if [ "$status" -ne 0 ]; then
			cp "$work/server.log" "$cache/server.log" 2>/dev/null && echo "the server's log is in $cache/server.log" >&2
		fi
		env -u DUGOUT_BIN "$DUGOUT_BIN" down --data "$work/data" --run-dir "$work/run" >/dev/null || status=1
		[ ! -e "$work/data/instance" ] || python3 -B "$here/recovery/host.py" bare "$work/data" "$work/run" || status=1
		rm -rf --one-file-system "$work"
	fi
	exit "$status"
}

start_server() {
	work=$(mktemp -d /tmp/dugout-e2e-XXXXXX)
	chmod 711 "$work" # the ids of sandboxes must reach what is below
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	DUGOUT_ADMIN_API_KEY=dgt_e2e_$(python3 -c 'import secrets; print(secrets.token_hex(24))')
	export DUGOUT_ADMIN_API_KEY
	export DAYTONA_API_URL=http://127.0.0.1:$port/api DAYTONA_API_KEY=$DUGOUT_ADMIN_API_KEY
	env -u DUGOUT_BIN "$DUGOUT_BIN" up --data "$work/data" --run-dir "$work/run" --listen "127.0.0.1:$port" >"$work/server.log" 2>&1 &
	server=$!
	for _ in $(seq 600); do
		curl -fsS -o /dev/null "http://127.0.0.1:$port/api/health" 2>/dev/null && return
		kill -0 "$server" 2>/dev/null || { server=''; tail -n 30 "$work/server.log" >&2; echo "run.sh: the server ended" >&2; return 1; }
		sleep 0.1
	done
	tail -n 30 "$work/server.log" >&2
	echo "run.sh: the server did not become ready within 60 s" >&2
	return 1
}
trap stop_server EXIT

failed=0
for suite in "${suites[@]}"; do
	if [ "$suite" != recovery ] && [ -z "$server" ]; then start_server; fi
	echo "== $suite"
	began=$SECONDS
	case $suite in
	python)
		install_python python "$PYTHON_DAYTONA"
		"$cache/python/bin/python" "$here/python/run.py" "$here/python" --ignore "$here/python/test_desktop.py" || failed=1
		;;
	python-2025)
		install_python python-2025 "$PYTHON_DAYTONA_2025"
		"$cache/python-2025/bin/python" "$here/python/run.py" "$here/python/test_families.py" || failed=1
		;;
	typescript)
		install_npm npm "@daytona/sdk@$NPM_DAYTONA" "@daytonaio/sdk@$NPM_DAYTONAIO"
		for package in @daytona/sdk @daytonaio/sdk; do
			typescript npm "$package" suite files git interpreter lsp pty session families
		done
		;;
	typescript-2025)
		install_npm npm-2025 "@daytonaio/sdk@$NPM_DAYTONAIO_2025"
		typescript npm-2025 @daytonaio/sdk families
		;;
	go) (cd "$here/go" && GOFLAGS=-mod=mod go run .) || failed=1 ;;
	desktop)
		if ! curl -fsS -H "Authorization: Bearer $DAYTONA_API_KEY" "$DAYTONA_API_URL/snapshots/desktop" 2>/dev/null | grep -q '"state":"active"'; then
			echo "desktop: skipped, there is no snapshot desktop; make desktop builds it"
			continue
		fi
		export E2E_DESKTOP=1
		install_python python "$PYTHON_DAYTONA"
		"$cache/python/bin/python" "$here/python/run.py" "$here/python/test_desktop.py" || failed=1
		install_npm npm "@daytona/sdk@$NPM_DAYTONA" "@daytonaio/sdk@$NPM_DAYTONAIO"
		for package in @daytona/sdk @daytonaio/sdk; do
			typescript npm "$package" desktop
		done
		unset E2E_DESKTOP
		;;
	recovery) python3 -B "$here/recovery/recovery.py" --kills "$kills" --cycles "$cycles" || failed=1 ;;
	esac
	echo "-- $suite took $((SECONDS - began)) s"
done
exit $failed
