#!/bin/sh
# Starts a Docker engine of its own as the reference of the benchmark, or stops it. Nothing of another engine on the host is
# touched: data, socket, containerd and bridge are private, and the image is made from the host's busybox without a registry.
#
#   bench/docker.sh start DIR    prints the socket's path; the engine runs until stop
#   bench/docker.sh stop DIR     ends it and removes DIR and the bridge
#
# Needs root, dockerd and a static busybox (Debian: docker.io busybox-static).
set -eu

verb=${1:?usage: docker.sh start|stop DIR}
dir=${2:?usage: docker.sh start|stop DIR}
bridge=bench-docker0
subnet=172.31.251.1/24
socket=$dir/docker.sock

stop() {
	if [ -f "$dir/docker.pid" ]; then
		pid=$(cat "$dir/docker.pid")
		kill "$pid" 2>/dev/null || true
		n=0
		while kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do
			sleep 0.1
			n=$((n + 1))
		done
	fi
	ip link delete "$bridge" 2>/dev/null || true
	rm -rf "$dir"
}

start() {
	command -v dockerd >/dev/null || { echo "docker.sh: dockerd is not installed" >&2; exit 3; }
	busybox=$(command -v busybox) || { echo "docker.sh: busybox is not installed" >&2; exit 3; }
	mkdir -p "$dir"
	ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" type bridge
	ip addr replace "$subnet" dev "$bridge"
	ip link set "$bridge" up
	dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" --host "unix://$socket" \
		--bridge "$bridge" --log-level error >"$dir/log" 2>&1 </dev/null &
	n=0
	until curl -sf --unix-socket "$socket" http://docker/_ping >/dev/null 2>&1; do
		n=$((n + 1))
		if [ $n -gt 200 ] || ! kill -0 $! 2>/dev/null; then
			tail -5 "$dir/log" >&2
			echo "docker.sh: the Docker engine did not start" >&2
			stop
			exit 1
		fi
		sleep 0.1
	done
	root=$dir/root
	mkdir -p "$root/bin" "$root/tmp"
	cp "$busybox" "$root/bin/busybox"
	for name in sh true sleep echo; do
		ln -sf busybox "$root/bin/$name"
	done
	tar -C "$root" -c . | curl -sf --unix-socket "$socket" -H 'Content-Type: application/x-tar' --data-binary @- \
		'http://docker/images/create?fromSrc=-&repo=dugout-bench&tag=1' >/dev/null
	echo "$socket"
}

case $verb in
start) start ;;
stop) stop ;;
*)
	echo "usage: docker.sh start|stop DIR" >&2
	exit 2
	;;
esac
