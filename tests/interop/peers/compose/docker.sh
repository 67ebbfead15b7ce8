#!/usr/bin/env bash
# A throw-away Docker engine with compose v2 and buildx, on a Debian machine where nobody installed one.
# Needs root. It keeps everything in one folder, also what it fetches, and listens on a socket there only.
#
#   docker.sh start    fetch what is missing from Debian, start the engine; prints two exports to eval
#   docker.sh stop     remove its containers and networks, stop it, put the forwarding rules back
#   docker.sh wipe     stop, and delete its images, volumes and what it fetched
#   docker.sh base SUITE IMAGE PACKAGE...
#                      make an image of a Debian suite by debootstrap, if it is not there yet
#
# Environment: ENGINE, the folder (/var/tmp/tickpanda-engine). Its path must be short: sockets are in it.
#
# No image registry is needed: every image is made here, under the name that it stands for.
set -euo pipefail
ENGINE=${ENGINE:-/var/tmp/tickpanda-engine}
export DOCKER_HOST=unix://$ENGINE/docker.sock DOCKER_CONFIG=$ENGINE/config
die() { echo "docker.sh: $*" >&2; exit 1; }
alive() { docker info >/dev/null 2>&1; }

mirror() {
  local m
  m=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*\/debian\)\/\{0,1\}$/\1/p' | head -n 1)
  [ -n "$m" ] || m=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\/debian\)\/\{0,1\} .*/\2/p' /etc/apt/sources.list 2>/dev/null | head -n 1)
  [ -n "$m" ] || die "no Debian mirror is configured on this machine"
  echo "$m"
}

# compose and buildx of a newer suite, unpacked into the folder and not installed: the stable ones are older
# than docker-compose.yml.
plugins() {
  [ ! -e "$DOCKER_CONFIG/cli-plugins/docker-compose" ] || return 0
  local apt=$ENGINE/apt unpacked=$ENGINE/plugins deb
  mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$unpacked" "$DOCKER_CONFIG/cli-plugins"
  : >"$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) forky main" >"$apt/sources.list"
  {
    apt-config dump | grep '^Acquire::' || true
    cat <<C
Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null"; Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::State "$apt/state"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache"; APT::Sandbox::User ""; Acquire::Languages "none";
C
  } >"$apt/apt.conf"
  (
    cd "$unpacked"
    export APT_CONFIG=$apt/apt.conf
    apt-get -qq update
    apt-get -qq download docker-compose docker-buildx
    for deb in ./*.deb; do dpkg-deb -x "$deb" .; done
    rm -f ./*.deb
  ) >&2
  ln -sf "$unpacked"/usr/libexec/docker/cli-plugins/* "$DOCKER_CONFIG/cli-plugins/"
}

install_packages() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >&2 ||
    { apt-get -qq update >&2 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >&2; }
}

start() {
  [ "$(id -u)" = 0 ] || die "a Docker engine needs root"
  mkdir -p "$ENGINE"
  if ! command -v dockerd >/dev/null || ! command -v iptables >/dev/null; then
    # The package must not start an engine of its own.
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then policy=''; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
    install_packages docker.io iptables || { rm -f ${policy:+"$policy"}; die "docker.io can't be installed"; }
    [ -z "$policy" ] || rm -f "$policy"
  fi
  plugins
  if ! alive; then
    # What stop puts back.
    iptables-save >"$ENGINE/rules"
    sysctl -n net.ipv4.ip_forward >"$ENGINE/forward"
    setsid dockerd --data-root="$ENGINE/data" --exec-root="$ENGINE/run" --pidfile="$ENGINE/pid" -H "$DOCKER_HOST" \
      >"$ENGINE/log" 2>&1 </dev/null &
    for _ in $(seq 240); do if alive; then break; fi; sleep 0.25; done
    alive || { tail -n 20 "$ENGINE/log" >&2; die "the engine does not start"; }
  fi
  echo "export DOCKER_HOST=$DOCKER_HOST DOCKER_CONFIG=$DOCKER_CONFIG"
}

stop() {
  local pid containers
  pid=$(cat "$ENGINE/pid" 2>/dev/null) || return 0
  if alive; then
    containers=$(docker ps -aq)
    # Container numbers have no blanks.
    # shellcheck disable=SC2086
    [ -z "$containers" ] || docker rm -fv $containers >/dev/null
    docker network prune -f >/dev/null
  fi
  kill "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
  ip link del docker0 2>/dev/null || true
  # The engine leaves its rules, and a policy that drops what is forwarded.
  if [ -s "$ENGINE/rules" ]; then iptables-restore <"$ENGINE/rules"; else iptables -P FORWARD ACCEPT; fi
  sysctl -qw net.ipv4.ip_forward="$(cat "$ENGINE/forward" 2>/dev/null || echo 0)" || true
  rm -f "$ENGINE/rules" "$ENGINE/forward" "$ENGINE/pid"
}

base() {
  local suite=$1 image=$2 root
  shift 2
  if docker image inspect "$image" >/dev/null 2>&1; then return; fi
  command -v debootstrap >/dev/null || install_packages debootstrap
  root=$ENGINE/rootfs
  rm -rf "$root"
  debootstrap --variant=minbase --include="$(IFS=,; echo "ca-certificates${*:+,$*}")" "$suite" "$root" "$(mirror)" >"$ENGINE/debootstrap.log" 2>&1 ||
    { tail -n 20 "$ENGINE/debootstrap.log" >&2; die "debootstrap of $suite failed"; }
  # A machine may have a certificate authority of its own, and reach its registries only with it.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  # As the slim images: without documentation and package lists.
  rm -rf "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/cache/apt/archives/*.deb
  tar -C "$root" -c . | docker import -c 'CMD ["bash"]' - "$image" >&2
  rm -rf "$root"
}

case ${1:-} in
  start) start ;;
  stop)  stop ;;
  wipe)  stop; rm -rf "$ENGINE" ;;
  base)  shift; base "$@" ;;
  *)     sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
