#!/bin/sh
# Builds runc from the Go module proxy and puts it at OUT.
#
#   tools/runc/build.sh OUT          OUT is the path of the binary to write, e.g. bin/runc
#
# Distributions ship runc releases without the fixes for the container escapes of 2025, and the OCI engine refuses those.
# Needs go, gcc, pkg-config and libseccomp-dev. Static where libseccomp.a is there, so that the binary runs on any host
# of the same architecture; dynamic, with a warning, otherwise. Does nothing when OUT is already good.
set -eu

VERSION=1.5.2

die() { echo "runc: $*" >&2; exit 1; }

[ $# -eq 1 ] && [ -n "$1" ] || die "usage: $0 OUT"
out=$1

# good BINARY: it runs, is at least VERSION and was built with libseccomp.
good() {
	said=$("$1" --version 2>/dev/null) || return 1
	have=$(printf '%s\n' "$said" | sed -n 's/^runc version \([0-9][0-9.]*\).*/\1/p')
	[ -n "$have" ] || return 1
	[ "$(printf '%s\n%s\n' "$VERSION" "$have" | sort -V | head -n 1)" = "$VERSION" ] || return 1
	printf '%s\n' "$said" | grep -q '^libseccomp: [0-9]'
}

if [ -x "$out" ] && good "$out"; then
	echo "runc: $out is already $have"
	exit 0
fi

missing=
for tool in go gcc pkg-config; do
	command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
[ -z "$missing" ] || die "missing:$missing (Debian packages: golang gcc pkg-config)"
pkg-config --exists libseccomp || die "missing: libseccomp headers (Debian package: libseccomp-dev)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

ldflags='-s -w'
tags='seccomp'
if [ -e "$(pkg-config --variable=libdir libseccomp)/libseccomp.a" ]; then
	ldflags="$ldflags -extldflags -static"
	tags='seccomp,netgo,osusergo'
	kind=static
else
	kind=dynamic
	echo "runc: no libseccomp.a here: the binary will need libseccomp.so at run time" >&2
fi

# From an empty folder: go install pkg@version must not read the module files around us.
(cd "$work" && GOBIN="$work" GOFLAGS= GOWORK=off CGO_ENABLED=1 \
	go install -trimpath -tags "$tags" -ldflags "$ldflags" "github.com/opencontainers/runc@v$VERSION")

good "$work/runc" || die "the built binary is not runc >= $VERSION with libseccomp: $("$work/runc" --version 2>&1 | tr '\n' ';')"
mkdir -p "$(dirname "$out")"
# Written beside OUT and renamed: a running runc is never overwritten, a half copy is never executed.
cp "$work/runc" "$out.new.$$"
mv -f "$out.new.$$" "$out"
echo "runc: $kind $have at $out"
