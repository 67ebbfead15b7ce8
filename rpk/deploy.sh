#!/usr/bin/env bash
# Brings a Redpanda cluster to tickpanda's state: topics, then the transform. Safe to run again.
#
#   rpk/deploy.sh                        build the transform with rpk and deploy it
#   rpk/deploy.sh tickpanda-transform.wasm   deploy a module that is already built
#
# rpk finds the cluster by its own profile or variables (RPK_BROKERS, RPK_ADMIN_HOSTS, …).
#   TICKPANDA_PARTITIONS  partitions of the raw and output topics (4)
#   TICKPANDA_REPLICAS    replicas of every topic (the cluster's default)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
partitions=${TICKPANDA_PARTITIONS:-4}
name=tickpanda-transform

die() { echo "deploy.sh: $*" >&2; exit 1; }
command -v rpk >/dev/null || die "needs rpk, Redpanda's command-line tool"
[[ $partitions =~ ^[1-9][0-9]*$ ]] || die "TICKPANDA_PARTITIONS is '$partitions', not a number of partitions"

wasm=${1:-}
[ -z "$wasm" ] || wasm=$(realpath -e "$wasm") || die "no module at '$1'"

# 1. Topics. Existing ones are left alone: `rpk topic alter-config` is an operator's decision.
existing=$(rpk topic list) || die "cannot list topics: is the cluster reachable (RPK_BROKERS)?"
while read -r topic count settings; do
  case $topic in ''|'#'*) continue ;; esac
  if awk '{print $1}' <<<"$existing" | grep -qxF "$topic"; then
    echo "topic $topic exists"
    continue
  fi
  [ "$count" = P ] && count=$partitions
  options=(--partitions "$count")
  [ -z "${TICKPANDA_REPLICAS:-}" ] || options+=(--replicas "$TICKPANDA_REPLICAS")
  for setting in $settings; do options+=(--topic-config "$setting"); done
  rpk topic create "$topic" "${options[@]}" </dev/null   # the loop reads standard input
done <"$here/topics.conf"

# 2. The module. `rpk transform build` works in the folder that holds transform.yaml.
cd "$here/../transform" 2>/dev/null || [ -n "$wasm" ] || die "no transform folder beside rpk: name a built module"
if [ -z "$wasm" ]; then
  rpk transform build
  wasm=$PWD/$name.wasm
fi

# 3. Deploy. Without --from-offset +0 the broker starts at deploy time, and raw records that are
#    already there would never be transformed. A redeploy keeps its offsets and ignores the option.
rpk transform deploy --file "$wasm" --name "$name" --from-offset +0 \
  --input-topic cryptocompare-raw \
  --output-topic tick-data --output-topic ohlcv-data --output-topic dead-letter

# 4. A successful deploy proves nothing: the broker compiles the module afterwards.
for _ in $(seq 60); do
  status=$(rpk transform list --detailed) || die "cannot list transforms"
  if grep -q running <<<"$status" && ! grep -qE 'errored|unknown|inactive' <<<"$status"; then
    echo "$status"
    exit 0
  fi
  sleep 1
done
echo "$status" >&2
die "the transform is not running on every partition after 60 s: see 'rpk transform logs $name' and the broker's log"
