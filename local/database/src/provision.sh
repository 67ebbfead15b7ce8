#!/usr/bin/env bash
# Fetches and unpacks what a server for demo and tests needs into a cache folder. Installs nothing, needs no
# root, and touches only that folder. Everything is made beside its place and renamed into it, under
# a lock: a second caller waits and finds it done, a killed one leaves nothing that looks finished.
#
#   provision.sh unpack CACHE SUITE           real TimescaleDB from that Debian suite's own packages,
#                                             into CACHE/SUITE/root
#   provision.sh redis CACHE SUITE            Redis likewise, into CACHE/SUITE/redis
#   provision.sh prometheus CACHE SUITE       promtool likewise, into CACHE/SUITE/prometheus
#   provision.sh template CACHE BIN TARGET OWNER [PREFIX...]
#                                             a fresh data directory made by BIN/initdb, which a new
#                                             server copies. PREFIX runs initdb as an account that
#                                             is not root; OWNER (user:group or empty) owns the result
#
# The packages are fetched by apt itself (signatures checked) with a state of its own. The programs
# run through the suite's own ld.so, so that an older glibc on this machine does not matter.
#
# Environment: TICKPANDA_DEBIAN_MIRROR   default: the mirror that this machine's apt uses
set -euo pipefail
umask 022
unset LD_PRELOAD LD_LIBRARY_PATH PGDATA PGOPTIONS # cargo and users set some of these

die() {
  echo "$*" >&2
  exit 1
}

lock() { # held until this script and what it started are gone
  exec 9>"$1/provision.lock"
  flock 9
}

mirror_of_host() {
  local found
  found=$(sed -n 's/^URIs: *\([^ ]*\/debian\)\/\{0,1\}\( .*\)\{0,1\}$/\1/p' \
    /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1 || true)
  [ -n "$found" ] || found=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\/debian\)\/\{0,1\} .*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | head -n 1 || true)
  echo "$found"
}

apt_config() { # FOLDER MIRROR SUITE KEYRING: an apt that knows one suite and an empty machine
  mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial"
  : >"$1/status"
  echo "deb [signed-by=$4] $2 $3 main" >"$1/sources.list"
  {
    apt-config dump | grep '^Acquire::' || true # this machine's proxy settings and the like
    cat <<CONF
Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$1/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
Dir::State "$1/state"; Dir::State::status "$1/status"; Dir::Cache "$1/cache";
APT::Sandbox::User ""; APT::Install-Recommends "false";
Acquire::Languages "none"; Acquire::Retries "2";
Acquire::http::Timeout "20"; Acquire::https::Timeout "20";
CONF
  } >"$1/apt.conf"
}

wrap_programs() { # BIN: each program runs under its own suite's ld.so and believes to be the wrapper,
  # so that PostgreSQL finds its share and lib folders, and initdb finds postgres, beside it
  local program programs=()
  mkdir "$1/elf"
  for program in "$1"/*; do
    [ -f "$program" ] || continue # links count: redis-server is one, and goes by the name it is called
    [ "$(head -c 4 "$program" | tail -c 3)" = ELF ] && programs+=("$program")
  done
  for program in "${programs[@]}"; do
    mv "$program" "$1/elf/"
    cat >"$program" <<'WRAPPER'
#!/bin/sh
b=${0%/*}; case $b in /*) ;; *) b=$(cd "$b" && pwd) ;; esac
r=${b%/usr/*}
for ld in "$r"/usr/lib/*-linux-gnu/ld-linux-*.so.?; do break; done
exec "$ld" --library-path "${ld%/*}" --argv0 "$b/${0##*/}" "$b/elf/${0##*/}" "$@"
WRAPPER
    chmod 755 "$program"
  done
}

unpack() { # CACHE SUITE
  local pg
  case $2 in
    trixie) pg=17 ;;
    forky) pg=18 ;;
    *) die "no such suite: $2" ;;
  esac
  [ -d /usr/share/zoneinfo ] || die "/usr/share/zoneinfo is missing (package tzdata)"
  # What the package needs on an empty machine, less what a running server never loads.
  fetch "$1/$2" "$2" root "postgresql-$pg-timescaledb" \
    "^(postgresql-(client-)?$pg|postgresql-$pg-timescaledb|lib[^ ]*)\$" \
    '^lib(llvm|z3|perl|.*-perl$|c-bin|c-l10n|bsd|edit|pam-|gdbm|db5|proc|text|json|ipc|io-)' \
    "usr/lib/postgresql/$pg/bin" postgres
}

redis() { # CACHE SUITE
  fetch "$1/$2" "$2" redis redis-server '^(redis-server|redis-tools|lua-[^ ]*|lib[^ ]*)$' \
    '^lib(c-bin|c-l10n|pam-)' usr/bin redis-server
}

prometheus() { # CACHE SUITE
  # One program of Go's, with next to no libraries.
  fetch "$1/$2" "$2" prometheus promtool '^(promtool|lib[^ ]*)$' '^libc-(bin|l10n)' usr/bin promtool
}

fetch() { # FOLDER SUITE NAME PACKAGE KEEP DROP BIN PROGRAM: the package and those that it needs and whose
  # names match KEEP and not DROP, into FOLDER/NAME, where BIN/PROGRAM then runs
  local folder=$1 suite=$2 name=$3 package=$4 keep=$5 drop=$6 bin=$7 program=$8
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ ! -d "$folder/$name" ] || return 0
  local tool
  for tool in apt-get apt-config dpkg-deb; do
    command -v "$tool" >/dev/null || die "this is no Debian-like machine: $tool is missing"
  done
  [ -r "$keyring" ] || die "$keyring is missing (package debian-archive-keyring)"
  local mirror=${TICKPANDA_DEBIAN_MIRROR:-$(mirror_of_host)}
  [ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources: set TICKPANDA_DEBIAN_MIRROR"

  local work=$folder/work
  rm -rf "$work"
  mkdir -p "$work/apt" "$work/debs" "$work/root"
  # apt reads its configuration through spaces badly: it works under a name without any.
  local apt
  apt=$(mktemp -d "${TMPDIR:-/tmp}/tickpanda-apt-XXXXXX")
  # shellcheck disable=SC2064  # the folder as it is named now
  trap "rm -rf '$apt' '$work'" EXIT
  apt_config "$apt" "$mirror" "$suite" "$keyring"
  export APT_CONFIG=$apt/apt.conf
  timeout --foreground 120 apt-get -qq update >&2
  local names
  mapfile -t names < <(timeout --foreground 60 apt-get -qq install -y --print-uris "$package" |
    sed -n "s/^'[^']*' \([^_ ]*\)_.*/\1/p" | grep -E "$keep" | grep -vE "$drop")
  [ ${#names[@]} -gt 0 ] || die "Debian $suite at $mirror has no $package"
  (cd "$work/debs" && timeout --foreground 600 apt-get -qq download "${names[@]}" >&2)
  local deb
  for deb in "$work"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work/root" --no-same-owner \
      --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' \
      --exclude='*/gconv' --exclude='*/bitcode' --exclude='*/llvmjit*'
  done
  wrap_programs "$work/root/$bin"
  chmod -R a+rX "$work/root"
  chmod a+rx "$folder"
  "$work/root/$bin/$program" --version >/dev/null || die "the unpacked $program does not run"
  mv -T "$work/root" "$folder/$name"
}

template() { # CACHE BIN TARGET OWNER [PREFIX...]
  local bin=$2 target=$3 owner=$4
  shift 4
  [ ! -d "$target" ] || return 0
  mkdir -p "${target%/*}"
  rm -rf "$target.new"
  mkdir -m 700 "$target.new"
  [ -z "$owner" ] || chown "$owner" "$target.new"
  # trust: only loopback and the data directory's own socket reach this server, see the crate's docs.
  (cd / && "$@" "$bin/initdb" -D "$target.new" -U postgres -A trust -E UTF8 --locale=C </dev/null >/dev/null)
  mv -T "$target.new" "$target"
}

verb=$1
shift
lock "$1"
"$verb" "$@"
