#!/usr/bin/env bash
# Sourced by test/headers and test/versions: which release of Debian has which
# PostgreSQL, and how to have packages of it without touching this machine.
#
# Everything lands below CACHE and is used again: PAY_VERSIONS_CACHE, or
# /var/tmp/payments-versions (chroots are large, and /tmp may be memory).
# The mirror is the one that apt uses here.  A release may be older than its
# date, as on a mirror that stands still; its signature is checked all the same.

CACHE=${PAY_VERSIONS_CACHE:-/var/tmp/payments-versions}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# No release of Debian came with 16.
declare -A RELEASE=([17]=trixie [18]=forky)

# Sets MIRROR; fails with a word where this is no Debian.
find_mirror() {
	command -v apt-get > /dev/null && [ -e "$KEYRING" ] || { echo "no apt with Debian's keys here"; return 1; }
	MIRROR=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' 2> /dev/null |
		grep -E '/debian/?$' | head -1)
	[ -n "$MIRROR" ] || { echo 'apt knows no Debian archive here'; return 1; }
}

# Nobody else may have prepared what we are about to run as root.
make_cache() {
	mkdir -p -m 755 "$CACHE" && [ -O "$CACHE" ] && [ ! -L "$CACHE" ] && : > "$CACHE/made-by-payments" || { echo "$CACHE is not ours"; return 1; }
}

source_line() { printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$MIRROR" "$1"; }

# apt that knows of one release and of nothing that is installed; it installs nothing.
write_apt_root() {
	local root=$CACHE/apt
	mkdir -p "$root/lists/partial" "$root/archives/partial" && : > "$root/status" && source_line "$1" > "$root/sources.list" || return 1
	cat > "$root/apt.conf" <<-CONF
		Dir::State "$root";
		Dir::State::status "$root/status";
		Dir::Cache "$root";
		Dir::Etc::SourceList "$root/sources.list";
		Dir::Etc::SourceParts "-";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::Check-Valid-Until "false";
		Acquire::Retries "1";
		APT::Update::Error-Mode "any";
		Acquire::http::Timeout "10";
		Acquire::https::Timeout "10";
	CONF
}

# fetch_headers MAJOR: its server headers below $CACHE/headers-MAJOR, or a word why not.
fetch_headers() {
	local major=$1 to=$CACHE/headers-$1 release=${RELEASE[$1]:-} new=$CACHE/headers-$1.new
	[ ! -d "$to" ] || return 0
	[ -n "$release" ] || { echo 'no release of Debian has it'; return 1; }
	find_mirror && make_cache && write_apt_root "$release" || return 1
	rm -rf "$new" && mkdir "$new" &&
		(cd "$new" && export APT_CONFIG=$CACHE/apt/apt.conf &&
			timeout 90 apt-get update -qq && timeout 60 apt-get download -qq "postgresql-server-dev-$major/$release" &&
			dpkg-deb -x ./*.deb .) > "$CACHE/apt/log" 2>&1 ||
		{ rm -rf "$new"; printf 'apt cannot get them: %s\n' "$(grep -m 1 -E '^E:' "$CACHE/apt/log")"; return 1; }
	# A younger C library has these; where ours has not, the server's declaration is the right one.
	sed -i 's/^#define HAVE_DECL_STRL\(CAT\|CPY\) 1$/#define HAVE_DECL_STRL\1 0/' "$new/usr/include/postgresql/$major/server/pg_config.h"
	rm -rf "$CACHE/apt"
	mv "$new" "$to"
}
