#!/bin/sh
# Runs the benchmark with every reference the host can give: a Docker engine of its own where dockerd is installed, the
# official Python SDK in a virtual environment under .cache/bench. Arguments go to the benchmark: bench/run.sh --quick
# Needs root and a built bin/dugout.
set -eu
cd "$(dirname "$0")/.."

cache=.cache/bench
sdk=${DUGOUT_BENCH_SDK:-daytona==0.226.1}
mkdir -p "$cache"
go build -o "$cache/bench" ./bench

python=
if [ ! -x "$cache/venv/bin/python" ] && command -v python3 >/dev/null; then
	python3 -m venv "$cache/venv" || rm -rf "$cache/venv"
fi
if [ -x "$cache/venv/bin/python" ]; then
	if [ "$(cat "$cache/sdk" 2>/dev/null)" = "$sdk" ] || "$cache/venv/bin/pip" install -q --disable-pip-version-check "$sdk"; then
		echo "$sdk" >"$cache/sdk"
		python=$cache/venv/bin/python
	fi
fi

docker= dir=
trap '[ -z "$dir" ] || bench/docker.sh stop "$dir"' EXIT
trap 'exit 130' INT TERM
if command -v dockerd >/dev/null && command -v busybox >/dev/null && command -v curl >/dev/null; then
	dir=$(mktemp -d)
	docker=$(bench/docker.sh start "$dir") || { docker='' dir=''; }
fi

"$cache/bench" --docker "$docker" --python "$python" "$@"
