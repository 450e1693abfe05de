#!/usr/bin/env bash
# Sourced by the commands that need a server: installs what is missing, copies
# the project and a private PostgreSQL tree into one scratch folder, builds and
# installs there.  Nothing outside of that folder changes but Debian packages,
# and no existing cluster sees any of it.
#
#	. test/lib/stage.sh
#	stage [FOLDER]		sets STAGE (its folder), SRC, PGTREE, PATH, PG_CONFIG
#	as_postgres CMD...	runs CMD as a user that is not root
#	unstage				removes the folder, unless KEEP=1; `trap unstage EXIT` is the caller's to set
#
# PAY_BUILD=coverage counts what runs, PAY_BUILD=sanitize has the server stop at
# memory errors and note undefined behaviour; see test/coverage and test/sanitize.
#
# Which server: that of the caller's PG_CONFIG, else of the caller's PG_MAJOR,
# else the newest that is installed, else the one of this Debian.

default_major() {
	local found
	found=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sed -nE 's|.*/([0-9]+)/bin/postgres$|\1|p' | sort -n | tail -1)
	if [ -z "$found" ]; then
		[ "$(id -u)" -ne 0 ] || apt-get update -qq > /dev/null 2>&1
		found=$(apt-cache depends postgresql 2> /dev/null | sed -nE 's/.*Depends: postgresql-([0-9]+)$/\1/p')
	fi
	echo "${found:-15}"
}

if [ -n "${PG_CONFIG:-}" ]; then
	PG_MAJOR=$("$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
	PG_CONFIG=$("$PG_CONFIG" --bindir)/pg_config
else
	PG_MAJOR=${PG_MAJOR:-$(default_major)}
	PG_CONFIG=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config
fi
# A browser is large, and only the tests print pages.
PACKAGES="build-essential clang libclang-rt-dev libcurl4-openssl-dev libxml2-dev libipc-run-perl libtap-parser-sourcehandler-pgtap-perl
	postgresql-$PG_MAJOR postgresql-$PG_MAJOR-cron postgresql-$PG_MAJOR-pgtap postgresql-client-$PG_MAJOR postgresql-server-dev-$PG_MAJOR python3 python3-pglast python3-psycopg2 rsync ${PAY_MORE_PACKAGES:-}"

say() { printf '%s\n' "$*" >&2; }

install_packages() {
	local missing=() p
	for p in $PACKAGES; do
		# A server that is not of Debian's packages comes with all that it has.
		[[ $p == postgresql-* && $PG_CONFIG != /usr/lib/postgresql/* ]] && continue
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		say "These packages are missing; install them as root: ${missing[*]}"
		return 1
	fi
	say "installing ${missing[*]}"
	# Debian would make and start a cluster of its own with the server package.
	if [ ! -e /etc/postgresql-common/createcluster.conf ] && ! command -v pg_lsclusters >/dev/null; then
		mkdir -p /etc/postgresql-common
		printf 'create_main_cluster = false\n' > /etc/postgresql-common/createcluster.conf
	fi
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } > "${TMPDIR:-/tmp}/payments-apt.log" 2>&1 ||
		{ tail -20 "${TMPDIR:-/tmp}/payments-apt.log" >&2; return 1; }
	rm -f "${TMPDIR:-/tmp}/payments-apt.log"
}

as_postgres() {
	if [ "$(id -u)" -eq 0 ]; then
		(cd "$STAGE" && runuser -u postgres -- env "PATH=$PATH" "PG_CONFIG=$PG_CONFIG" "HOME=$STAGE" "LC_ALL=C.UTF-8" "$@")
	else
		(cd "$STAGE" && env "LC_ALL=C.UTF-8" "$@")
	fi
}

# What the compiler is to add, by PAY_BUILD.
build_flags() {
	case ${PAY_BUILD:-} in
		'') ;;
		# Unit tests have a sanitizer, which makes lines of declarations.
		coverage) echo '--coverage -O0 -fno-sanitize=all' ;;
		sanitize) echo '-fsanitize=address,undefined -fno-omit-frame-pointer -O1 -g' ;;
		*) say "no such PAY_BUILD: $PAY_BUILD"; return 1 ;;
	esac
}

# The sanitizer's library must be loaded before all others, and only into the
# server: so the program of that name starts the other.  What it reports goes
# where the server's own words go, and there once more for test/sanitize.
preload_sanitizer() {
	local bin=$1
	[ "${PAY_BUILD:-}" = sanitize ] && [ ! -e "$bin/postgres.real" ] || return 0
	mkdir -p -m 1777 "$STAGE/sanitizer"
	gcc -shared -fPIC -w -o "$STAGE/untranslated.so" "$SRC/test/lib/untranslated.c" || return 1
	mv "$bin/postgres" "$bin/postgres.real"
	cat > "$bin/postgres" <<-WRAPPER
		#!/usr/bin/env bash
		export LD_PRELOAD="$(gcc -print-file-name=libasan.so):$STAGE/untranslated.so\${LD_PRELOAD:+:\$LD_PRELOAD}"
		export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:handle_segv=0" UBSAN_OPTIONS="print_stacktrace=1"
		exec -a "\$0" "$bin/postgres.real" "\$@" 2> >(exec tee -a "$STAGE/sanitizer/\$\$" >&2)
	WRAPPER
	chmod 755 "$bin/postgres"
}

unstage() {
	[ -n "${STAGE:-}" ] && [ "${KEEP:-0}" != 1 ] && rm -rf "$STAGE"
	return 0
}

stage() {
	local project bin include flags
	flags=$(build_flags) || return 1
	project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
	install_packages || return 1
	STAGE=${1:-$(mktemp -d "${TMPDIR:-/tmp}/payments-XXXXXX")}
	mkdir -p "$STAGE"
	chmod 755 "$STAGE"
	SRC=$STAGE/src
	PGTREE=$STAGE/pg
	bin=$("$PG_CONFIG" --bindir)
	bin=${bin#"$PGTREE"}
	if [ ! -x "$PGTREE$bin/pg_config" ]; then
		# Of a kept stage: what was built for another server.
		rm -rf "$PGTREE" "$SRC"
		# A server finds its files by where its program lies, so all paths stay as they are, below another root.
		include=$("$PG_CONFIG" --includedir)
		mkdir -p "$PGTREE${include%/*}"
		# From the root: cp looks once more for the parents of what it has copied, without the slash before them.
		(cd / && cp -a --parents ".$bin" ".$("$PG_CONFIG" --pkglibdir)" ".$("$PG_CONFIG" --sharedir)" "$PGTREE") || return 1
		ln -s "$include" "$PGTREE$include"
	fi
	rsync -a --delete --exclude=.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude='*.gcno' --exclude='*.gcda' --exclude=output --exclude=build "$project/" "$SRC/"
	preload_sanitizer "$PGTREE$bin" || return 1
	[ "$(id -u)" -eq 0 ] && chown -R postgres: "$STAGE"
	export PATH="$PGTREE$bin:$PATH"
	export PG_CONFIG="$PGTREE$bin/pg_config"
	# For tests that link a library of their own from the objects.
	export PAY_BUILD_FLAGS=$flags
	as_postgres make -s -C "$SRC" -j2 with_llvm=no "COPT=$flags" "PG_CONFIG=$PG_CONFIG" all > "$STAGE/build.log" 2>&1 &&
		as_postgres make -s -C "$SRC" with_llvm=no "COPT=$flags" "PG_CONFIG=$PG_CONFIG" install >> "$STAGE/build.log" 2>&1 ||
		{ cat "$STAGE/build.log" >&2; return 1; }
}
