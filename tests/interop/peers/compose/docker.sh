#!/usr/bin/env bash
# A throw-away Docker engine with compose v2 and buildx, on a Debian machine where nobody installed one.
# Needs root. It keeps everything in one folder, also what it fetches, and listens on a socket there only. An
# engine also changes its machine: a bridge, forwarding rules, a setting of the kernel. Two engines would share
# all that, so it does not start where there is another, and `stop` takes back what it has changed, no more.
#
#   docker.sh plugins  fetch compose and buildx from Debian (no root, no engine); prints compose's path
#   docker.sh start    fetch what is missing, start the engine; prints two exports to eval
#   docker.sh stop     remove its containers and networks, stop it, take its rules and its bridge away
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
# What is not to be had on this machine; anything else that fails is this script's fault.
absent() { echo "docker.sh: $*" >&2; exit 3; }
alive() { docker info >/dev/null 2>&1; }

mirror() {
  local m
  m=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*\/debian\)\/\{0,1\}$/\1/p' | head -n 1)
  [ -n "$m" ] || m=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\/debian\)\/\{0,1\} .*/\2/p' /etc/apt/sources.list 2>/dev/null | head -n 1)
  [ -n "$m" ] || absent "no Debian mirror is configured on this machine"
  echo "$m"
}

# compose and buildx of a newer suite, unpacked into the folder and not installed: the stable ones are older
# than docker-compose.yml.
plugins() {
  [ ! -e "$DOCKER_CONFIG/cli-plugins/docker-compose" ] || return 0
  command -v apt-get >/dev/null || absent "compose and buildx are fetched by apt-get, which this machine has not"
  local apt=$ENGINE/apt unpacked=$ENGINE/plugins deb from
  from=$(mirror) # by itself: as a part of another command its failure would be lost
  mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$unpacked" "$DOCKER_CONFIG/cli-plugins"
  : >"$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from forky main" >"$apt/sources.list"
  {
    apt-config dump | grep '^Acquire::' || true
    cat <<C
Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null"; Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::State "$apt/state"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache"; APT::Sandbox::User ""; Acquire::Languages "none";
C
  } >"$apt/apt.conf"
  (cd "$unpacked" && export APT_CONFIG=$apt/apt.conf && apt-get -qq update && apt-get -qq download docker-compose docker-buildx) >&2 ||
    absent "compose and buildx can't be fetched from Debian"
  for deb in "$unpacked"/*.deb; do dpkg-deb -x "$deb" "$unpacked"; done
  rm -f "$unpacked"/*.deb
  ln -sf "$unpacked"/usr/libexec/docker/cli-plugins/* "$DOCKER_CONFIG/cli-plugins/"
}

install_packages() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >&2 ||
    { apt-get -qq update >&2 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >&2; }
}

# --- Which engines run here. ------------------------------------------------------------------------

# A process may have the number of one that ended long ago.
is_ours() { tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null | grep -qxF -- "--data-root=$ENGINE/data"; }
# Ours, running; nothing where it does not.
our_pid() {
  local pid
  pid=$(cat "$ENGINE/pid" 2>/dev/null) && is_ours "$pid" && echo "$pid"
}
others() {
  local process
  for process in /proc/[0-9]*; do
    if [ "$(cat "$process/comm" 2>/dev/null)" = dockerd ] && ! is_ours "${process#/proc/}"; then echo "${process#/proc/}"; fi
  done
}
# Why there may be another engine, running or not; nothing where there is none.
another() {
  local pids
  pids=$(others | xargs)
  if [ -n "$pids" ]; then
    echo "another engine runs here (dockerd, process $pids)"
  elif ip link show docker0 >/dev/null 2>&1; then
    echo "there is a bridge docker0 already, of another engine"
  elif iptables-save 2>/dev/null | grep '^:DOCKER' >/dev/null; then # all of it: -q would break the pipe
    echo "there are chains of another engine in iptables"
  fi
}

# --- What an engine changes. ------------------------------------------------------------------------

# Rules that only an engine makes: with its chains, on its bridges, and from a container to itself.
engines_rules='DOCKER|[io] (docker0|br-[0-9a-f]{12})|^-A POSTROUTING -s ([0-9a-f.:/]+) -d \2 .*-j MASQUERADE'
# `iptables-save` on standard input; on standard output the commands for `iptables-restore --noflush` that
# take an engine's rules and chains away, and leave everybody else's.
undoing() {
  { grep -E "^[*:]|$engines_rules" || true; } | awk '
    /^\*/ { finish(); print; table = 1 }
    /^:DOCKER/ { name = substr($1, 2); flushed = flushed "-F " name "\n"; dropped = dropped "-X " name "\n" }
    /^-A / && $2 !~ /^DOCKER/ { sub(/^-A/, "-D"); print }
    END { finish() }
    function finish() { if (table) { printf "%s%sCOMMIT\n", flushed, dropped } flushed = dropped = "" }'
}
# What `take_back` needs to know, written before the engine starts. The boot's id, because after the next
# boot none of it is so any more.
remember() {
  {
    cat /proc/sys/kernel/random/boot_id
    cat /proc/sys/net/ipv4/ip_forward
    iptables -S FORWARD | sed -n 's/^-P FORWARD //p'
  } >"$ENGINE/changes"
}
take_back() {
  local boot forward policy version
  { read -r boot && read -r forward && read -r policy; } 2>/dev/null <"$ENGINE/changes" || return 0
  rm -f "$ENGINE/changes"
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 0
  if [ -n "$(others)" ]; then
    echo "docker.sh: another engine was started meanwhile: bridge, rules and forwarding are left to it" >&2
    return 0
  fi
  for version in iptables ip6tables; do
    command -v "$version" >/dev/null || continue
    "$version-save" | undoing | "$version-restore" --noflush ||
      echo "docker.sh: the engine's rules can't be taken away: see $version-save" >&2
  done
  ip link del docker0 2>/dev/null || true
  # An engine drops what it does not forward itself.
  iptables -P FORWARD "$policy"
  echo "$forward" >/proc/sys/net/ipv4/ip_forward
}

# --- Commands. --------------------------------------------------------------------------------------

missing() { local tool; for tool; do command -v "$tool" >/dev/null || echo "$tool"; done; }

start() {
  [ "$(id -u)" = 0 ] || absent "a Docker engine needs root"
  mkdir -p "$ENGINE"
  local why
  # Of a start whose engine was killed.
  [ -n "$(our_pid)" ] || take_back
  if [ -z "$(our_pid)" ]; then
    why=$(another)
    [ -z "$why" ] || absent "$why, and this one would share its bridge and its rules: run this where no Docker engine is, or stop that one and restart the machine"
  fi
  if [ -n "$(missing dockerd docker iptables ip)" ]; then
    # The package must not start an engine of its own.
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then policy=''; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
    # From Debian 13 on the client is a package of its own.
    local packages=(docker.io iptables iproute2)
    if [ -n "$(missing docker)" ] && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
    install_packages "${packages[@]}" || { rm -f ${policy:+"$policy"}; absent "docker.io can't be installed"; }
    [ -z "$policy" ] || rm -f "$policy"
  fi
  plugins
  if ! alive; then
    remember
    setsid dockerd --data-root="$ENGINE/data" --exec-root="$ENGINE/run" --pidfile="$ENGINE/pid" -H "$DOCKER_HOST" \
      >"$ENGINE/log" 2>&1 </dev/null &
    for _ in $(seq 240); do if alive; then break; fi; sleep 0.25; done
    alive || { tail -n 20 "$ENGINE/log" >&2; absent "the engine does not start"; }
  fi
  echo "export DOCKER_HOST=$DOCKER_HOST DOCKER_CONFIG=$DOCKER_CONFIG"
}

# Ends a process that is told to end, within half a minute or by force.
end() {
  kill "$1" 2>/dev/null || return 0
  for _ in $(seq 150); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.2; done
  echo "docker.sh: process $1 does not end, and is killed" >&2
  kill -9 "$1" 2>/dev/null || true
}

stop() {
  local pid containers containerd=$ENGINE/run/containerd/containerd.pid
  pid=$(our_pid) || pid=''
  if [ -n "$pid" ]; then
    if alive; then
      containers=$(docker ps -aq)
      # Container numbers have no blanks.
      # shellcheck disable=SC2086
      [ -z "$containers" ] || docker rm -fv $containers >/dev/null
      docker network prune -f >/dev/null
    fi
    end "$pid"
    # Its child, which one that is killed leaves behind.
    pid=$(cat "$containerd" 2>/dev/null) || pid=''
    if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = containerd ]; then end "$pid"; fi
  fi
  take_back
  rm -f "$ENGINE/pid"
}

base() {
  local suite=$1 image=$2 root from
  shift 2
  if docker image inspect "$image" >/dev/null 2>&1; then return; fi
  command -v debootstrap >/dev/null || install_packages debootstrap || absent "debootstrap can't be installed"
  from=$(mirror)
  root=$ENGINE/rootfs
  rm -rf "$root"
  debootstrap --variant=minbase --include="$(IFS=,; echo "ca-certificates${*:+,$*}")" "$suite" "$root" "$from" >"$ENGINE/debootstrap.log" 2>&1 ||
    { tail -n 20 "$ENGINE/debootstrap.log" >&2; absent "debootstrap of $suite failed"; }
  # A machine may have a certificate authority of its own, and reach its registries only with it.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  # As the slim images: without documentation and package lists.
  rm -rf "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/cache/apt/archives/*.deb
  tar -C "$root" -c . | docker import -c 'CMD ["bash"]' - "$image" >&2
  rm -rf "$root"
}

case ${1:-} in
  plugins) plugins; echo "$DOCKER_CONFIG/cli-plugins/docker-compose" ;;
  start) start ;;
  stop)  stop ;;
  wipe)  stop; rm -rf "$ENGINE" ;;
  base)  shift; base "$@" ;;
  *)     sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
