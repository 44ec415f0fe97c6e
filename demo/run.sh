#!/bin/sh
# Runs the demo with the binaries that `make build` put into bin/. See main.go. Everything it writes goes to .cache/demo.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
	echo "demo: must run as root, because the server makes containers; try: sudo make demo" >&2
	exit 1
fi
if [ ! -x bin/dugout ]; then
	echo "demo: bin/dugout is missing; run: make build" >&2
	exit 1
fi
mkdir -p .cache/demo
go build -o .cache/demo/demo ./demo
exec .cache/demo/demo -dugout bin/dugout -dir .cache/demo
