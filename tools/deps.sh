#!/bin/sh
# Installs what is missing on Debian 12 to build, test and measure Dugout.
#
#   tools/deps.sh [build|test|bench]...     default: build; test and bench contain build
#
# Asks dpkg first: when nothing is missing it neither needs root nor the network. Go is not installed, only checked, because
# Debian's is too old.
set -eu

GO_WANTED=1.26
NODE_WANTED=18

die() { echo "deps: $*" >&2; exit 1; }

want='gcc libc6-dev libseccomp-dev pkg-config mmdebstrap ca-certificates btrfs-progs busybox-static nftables git make'
node=no
[ $# -gt 0 ] || set -- build
for part in "$@"; do
	case $part in
	build) ;;
	test) want="$want postgresql python3-venv" node=yes ;;
	bench) want="$want docker.io iptables python3-venv" ;;
	*) die "unknown part '$part'; usage: $0 [build|test|bench]..." ;;
	esac
done

# installed PACKAGE: it is there, or a program that does the same is, however it came here.
installed() {
	case $1 in
	docker.io) command -v dockerd >/dev/null 2>&1 && return 0 ;;
	esac
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# newer WANTED HAVE: HAVE is WANTED or later.
newer() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

command -v dpkg-query >/dev/null 2>&1 || die "this host is not Debian or one of its kin; install by hand: $want"

missing=
for package in $want; do
	installed "$package" || missing="$missing $package"
done
# npm comes with most builds of node; Debian has it as a package of its own.
if [ $node = yes ]; then
	command -v node >/dev/null 2>&1 || missing="$missing nodejs"
	command -v npm >/dev/null 2>&1 || missing="$missing npm"
fi

if [ -n "$missing" ]; then
	[ "$(id -u)" = 0 ] || die "missing:$missing; run this as root, or: sudo apt-get install --no-install-recommends$missing"
	echo "deps: installing$missing"
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	# apt's own lists may be older than the archive: one more try with fresh ones.
	# shellcheck disable=SC2086 # a list of words
	apt() {
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 $missing
	}
	apt >"$log" 2>&1 || { apt-get update -qq && apt; } >"$log" 2>&1 || {
		cat "$log" >&2
		die "apt-get could not install:$missing"
	}
fi

path=$PATH:/usr/local/go/bin
have=$(PATH=$path GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//') || have=
how="get it from https://go.dev/dl/, unpack it with: tar -C /usr/local -xzf go*.tar.gz, and put /usr/local/go/bin into PATH"
[ -n "$have" ] || die "Go $GO_WANTED or later is missing: $how"
newer "$GO_WANTED" "$have" || die "Go is $have and must be $GO_WANTED or later: $how"
command -v go >/dev/null 2>&1 || die "Go is in /usr/local/go/bin; put that into PATH"

if [ $node = yes ]; then
	have=$(node --version | sed 's/^v//')
	newer "$NODE_WANTED" "$have" || die "node is $have and must be $NODE_WANTED or later: see https://nodejs.org/"
fi
