#!/usr/bin/env bash
# Brings a Redpanda cluster to tickpanda's state: topics, then the transform. Safe to run again.
#
#   deploy.sh [deploy] [MODULE]   create what is missing, deploy or upgrade, wait until it really runs
#   deploy.sh upgrade [MODULE]    replace the module of a transform that is there; its offsets stay
#   deploy.sh rollback            put the module back that ran before
#   deploy.sh pause | resume      its offsets stay
#   deploy.sh status              the state of each partition, and which module it is
#   deploy.sh logs [OPTIONS]      what it wrote; options are those of `rpk transform logs`
#   deploy.sh remove [--yes]      delete it and its offsets; the topics stay
#
# MODULE is a .wasm file that is already built; without one, `rpk transform build` makes it.
# Options of deploy, for a transform that was removed while its output topics hold records:
#   --emit-again            transform everything that the raw topic still has, once more
#   --from-offset OFFSET    begin elsewhere: @MILLISECONDS, +N from the start, -N from the end
#
# rpk finds the cluster by itself: its profile (rpk/profile.yaml is one), or RPK_BROKERS, RPK_ADMIN_HOSTS …
#   TICKPANDA_PARTITIONS    partitions of the raw and output topics (4, or as many as they have)
#   TICKPANDA_REPLICAS      replicas of topics that are created (the cluster's default)
#   TICKPANDA_TOPIC_PREFIX  stands before the name of every topic, and of the transform (nothing)
#   TICKPANDA_DEPLOY_WAIT   seconds until all partitions must run (120)
#   TICKPANDA_DEPLOY_STATE  where modules are kept for `rollback` (~/.local/state/tickpanda/deploy)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=${TICKPANDA_TOPIC_PREFIX:-}
patience=${TICKPANDA_DEPLOY_WAIT:-120}
name=${prefix}tickpanda-transform
raw=${prefix}cryptocompare-raw
outputs=("${prefix}tick-data" "${prefix}ohlcv-data" "${prefix}dead-letter")

say() { echo "deploy.sh: $*"; }
die() { echo "deploy.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
number() { [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "$1 is '$2', not a number of $3"; }

# --- What the cluster says. rpk's tables, because its image has no tool for JSON. ------------------

# Loads name and partitions of every topic; the only call that may not fail in a pipe.
load_topics() {
  topics=$(rpk topic list) || die "cannot list topics: do RPK_BROKERS or rpk's profile name the cluster?"
}
partitions_of() { awk -v topic="$1" '$1 == topic { print $2 }' <<<"$topics"; }

# Records that a topic ever had: the sum of the high watermarks, which are rpk's last column.
records_ever() {
  rpk topic describe --print-partitions "$1" | awk 'NR > 1 { sum += $NF } END { print sum + 0 }'
}

load_transforms() {
  transforms=$(rpk transform list --detailed) ||
    die "cannot list transforms: do RPK_ADMIN_HOSTS or rpk's profile name the Admin API, and is data_transforms_enabled set (rpk/.bootstrap.yaml)?"
}
is_deployed() { awk -v line="$name, " 'index($0, line) == 1 { found = 1 } END { exit !found }' <<<"$transforms"; }
# `PARTITION NODE STATUS LAG` of each partition of ours.
states() {
  awk -v line="$name, " '
    index($0, " → ") { ours = index($0, line) == 1; next }
    ours && $1 ~ /^[0-9]+$/ { print $1, $2, tolower($3), $4 }' <<<"$transforms"
}
show_states() { states | awk '{ printf "  partition %s on node %s: %s, lag %s\n", $1, $2, $3, $4 }'; }

# The hash of the module that is deployed: the script gives it to the transform as a variable, and the
# cluster shows it. Empty where somebody else deployed it.
deployed_hash() {
  local json between='","input_topic":"[^"]*","output_topics":\[[^]]*\],"environment":\{[^}]*"TICKPANDA_MODULE":"([0-9a-f]{64})"'
  json=$(rpk transform list --detailed --format json) || die "cannot list transforms"
  local ours='"name":"'${name//./\\.}$between
  if [[ $json =~ $ours ]]; then echo "${BASH_REMATCH[1]}"; fi
}

# --- Modules that were deployed from here, so that one can be put back. -----------------------------

open_state() {
  local cluster
  cluster=$(rpk cluster info --print-cluster | grep -vE '^(CLUSTER|=*)$' | head -n 1 | tr -c 'A-Za-z0-9.\n-' _) || cluster=
  state=${TICKPANDA_DEPLOY_STATE:-${XDG_STATE_HOME:-${HOME:-/tmp}/.local/state}/tickpanda/deploy}/${cluster:-cluster}/$name
  if ! mkdir -p "$state" 2>/dev/null || [ ! -w "$state" ]; then
    die "cannot write to $state, where modules are kept for a roll back: set TICKPANDA_DEPLOY_STATE to a folder of yours"
  fi
  touch "$state/history"
}
# Lines of the history are: hash, time, where it came from; the newest last. 20 lines and 5 modules stay.
remember() {
  printf '%s\t%s\t%s\n' "$1" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" "$2" >>"$state/history"
  tail -n 20 "$state/history" >"$state/history.new" && mv "$state/history.new" "$state/history"
  local kept file
  kept=$(tac "$state/history" | cut -f 1 | awk '!seen[$0]++' | head -n 5)
  for file in "$state"/*.wasm; do
    grep -qxF "$(basename "$file" .wasm)" <<<"$kept" || rm -f "$file"
  done
}
described() { awk -F '\t' -v hash="$1" '$1 == hash { line = $2 ", from " $3 } END { print line }' "$state/history"; }

# --- Steps. -----------------------------------------------------------------------------------------

# The partition count that raw and output topics share, in $partitions. A transform's output goes to
# partition (input mod output count), whatever its key: with different counts a pair would not stay alone
# on its partition, and some partitions would hold nothing.
agree_on_partitions() {
  local topic count found=() counts
  for topic in "$raw" "${outputs[@]}"; do
    count=$(partitions_of "$topic")
    if [ -n "$count" ]; then found+=("$topic $count"); fi
  done
  counts=$(printf '%s\n' "${found[@]}" | awk 'NF { print $2 }' | sort -un)
  if [ "$(wc -w <<<"$counts")" -gt 1 ]; then
    die "raw and output topics must have the same number of partitions, and have: $(printf '%s, ' "${found[@]}" | sed 's/, $//'). Delete and recreate those that hold nothing yet, or give the smaller ones more with rpk topic add-partitions (pairs change their partition then)."
  fi
  if [ -n "${TICKPANDA_PARTITIONS:-}" ] && [ -n "$counts" ] && [ "$counts" != "$TICKPANDA_PARTITIONS" ]; then
    die "TICKPANDA_PARTITIONS is $TICKPANDA_PARTITIONS, and the topics that are there have $counts partitions: leave it unset to go on with $counts"
  fi
  partitions=${counts:-${TICKPANDA_PARTITIONS:-4}}
}

# Creates what is missing. Settings of a topic that is there are an operator's decision: what differs is
# shown with the command that would change it.
create_topics() {
  local topic count settings setting options is is_now wanted key
  while read -r topic count settings; do
    case $topic in ''|'#'*) continue ;; esac
    topic=$prefix$topic
    if [ -z "$(partitions_of "$topic")" ]; then
      if [ "$count" = P ]; then count=$partitions; fi
      options=(--partitions "$count")
      if [ -n "${TICKPANDA_REPLICAS:-}" ]; then options+=(--replicas "$TICKPANDA_REPLICAS"); fi
      for setting in $settings; do options+=(--topic-config "$setting"); done
      rpk topic create "$topic" "${options[@]}" </dev/null ||  # the loop reads standard input
        die "cannot create topic $topic"
      continue
    fi
    say "topic $topic is there"
    is=$(rpk topic describe --print-configs "$topic" </dev/null) || die "cannot describe topic $topic"
    for setting in $settings; do
      key=${setting%%=*} wanted=${setting#*=}
      is_now=$(awk -v key="$key" '$1 == key { print $2 }' <<<"$is")
      if [ "$is_now" != "$wanted" ]; then
        say "  its $key is ${is_now:-not shown}, rpk/topics.conf has $wanted: rpk topic alter-config $topic --set $setting"
      fi
    done
  done <"$here/topics.conf"
}

# The module, in $wasm; its hash in $hash, and where it came from in $origin.
find_module() {
  if [ -n "$1" ]; then
    wasm=$(realpath -e "$1" 2>/dev/null) || die "no module at '$1'"
  else
    # `rpk transform build` works in the folder that holds transform.yaml.
    [ -f "$here/../transform/Cargo.toml" ] || die "no transform folder beside rpk: name a module that is already built"
    say "building the transform"
    (cd "$here/../transform" && rpk transform build) || die "rpk transform build failed"
    wasm=$(realpath -e "$here/../transform/tickpanda-transform.wasm")
  fi
  [ "$(head -c 4 "$wasm" | od -An -tx1 | tr -d ' ')" = 0061736d ] || die "$wasm is no WebAssembly module"
  hash=$(sha256sum "$wasm" | cut -d ' ' -f 1)
  origin=$wasm
}

# Whether the broker would run it. It says so only after a deploy has succeeded, if at all.
check_module() {
  if ! command -v tickpanda >/dev/null || ! tickpanda --version >/dev/null 2>&1; then
    say "the program tickpanda is not here: the module is deployed without a check"
    return 0
  fi
  local report
  if report=$(tickpanda transform check "$wasm" 2>&1); then
    say "tickpanda transform check: $(head -n 1 <<<"$report")"
  else
    echo "$report" >&2
    die "the broker would not run $wasm: nothing was changed"
  fi
}

# Deploys $wasm. `--from-offset` counts only where the transform is new: without it the broker would begin
# at deploy time, and never transform what is on the raw topic already. It is passed always, because a
# transform that somebody removes in this moment must rather say something twice than leave something out.
deploy_module() {
  local from_offset=$1
  cp "$wasm" "$state/$hash.wasm.new" && mv "$state/$hash.wasm.new" "$state/$hash.wasm"
  rpk transform deploy --file "$wasm" --name "$name" --from-offset "$from_offset" \
    --input-topic "$raw" \
    --output-topic "${outputs[0]}" --output-topic "${outputs[1]}" --output-topic "${outputs[2]}" \
    --var "TICKPANDA_MODULE=$hash" || die "rpk transform deploy failed: nothing was changed"
  remember "$hash" "$origin"
}

# Waits until every partition runs, $1 looks in a row: a transform that fails is started again and again,
# and for a moment the one that was replaced is still shown.
wait_until_it_runs() {
  local deadline=$((SECONDS + patience)) in_a_row=0 now told='' count
  count=$(partitions_of "$raw")
  while :; do
    load_transforms
    now=$(states | awk '{ n[$3]++ } END { for (s in n) printf "%s%s %s", (k++ ? ", " : ""), n[s], s }')
    if [ "$now" = "$count running" ]; then
      in_a_row=$((in_a_row + 1))
      if ((in_a_row >= $1)); then break; fi
    else
      in_a_row=0
      if [ "$now" != "$told" ]; then say "waiting for $count partitions: ${now:-none is listed}"; told=$now; fi
      if ((SECONDS >= deadline)); then explain_why_not; fi
    fi
    sleep 1
  done
  say "$name runs on all $count partitions, module ${hash:0:12}"
  show_states
}

explain_why_not() {
  {
    say "$name does not run on every partition after $patience s"
    show_states
    case $(states | awk '{ print $3 }' | sort -u | tr '\n' ' ') in
      *unknown*) say "unknown: the broker could not make it run, for instance because the module imports what the broker does not have. It tries again every 30 s; the reason is in the broker's log: 'failed to create transform processor $name'" ;;
      *errored*) say "errored: it starts and fails, again and again. What it wrote is below; the trap itself is in the broker's log: 'error running transform'" ;;
      *inactive*) say "inactive: it is starting, or paused (deploy.sh resume)" ;;
      *) say "no partition has a processor: has $raw leaders, and is the Admin API that of this cluster?" ;;
    esac
    if command -v tickpanda >/dev/null && [ -n "${wasm:-}" ]; then
      tickpanda transform check "$wasm" 2>&1 | head -n 5 || true
    else
      say "tickpanda transform check FILE.wasm tells more about the module"
    fi
    show_log
    local before
    before=$(previous_module)
    if [ -n "$before" ]; then say "deploy.sh rollback puts ${before:0:12} back ($(described "$before"))"; fi
  } >&2
  exit 1
}

# The last lines that the transform wrote. rpk waits for ever where its partition of the log is empty.
show_log() {
  local lines='' written
  written=$(records_ever _redpanda.transform_logs 2>/dev/null) || written=0
  [ "$written" = 0 ] || lines=$(timeout 10 rpk transform logs "$name" --tail 20 --format wide 2>/dev/null) || true
  if [ -n "$lines" ]; then
    say "the last lines that it wrote:"
    awk '{ print "  " $0 }' <<<"$lines"
  else
    say "it wrote nothing to its log"
  fi
}

# The newest module of the history that is not the one that runs, and is still kept.
previous_module() {
  local running candidate
  running=${hash:-$(deployed_hash)}
  while read -r candidate; do
    if [ "$candidate" != "$running" ] && [ -f "$state/$candidate.wasm" ]; then echo "$candidate"; return; fi
  done < <(tac "$state/history" | cut -f 1)
}

# --- Commands. --------------------------------------------------------------------------------------

deploy() {
  local only_upgrade=$1 module=$2 again=$3 from_offset=$4 topic running looks=2
  load_topics
  load_transforms  # before anything is created
  open_state
  agree_on_partitions
  if ! is_deployed; then
    if $only_upgrade; then die "there is no transform $name to upgrade: deploy.sh deploy"; fi
    if ! $again && [ -z "$from_offset" ]; then
      for topic in "${outputs[@]}"; do
        if [ -n "$(partitions_of "$topic")" ] && [ "$(records_ever "$topic")" -gt 0 ]; then
          die "$topic holds records, and the transform that made them is gone with its offsets: deploying now would emit all that $raw still has once more (the sink keeps one of each; other readers see them twice). Say --emit-again if that is wanted, or --from-offset @MILLISECONDS to begin with what was received since then."
        fi
      done
    fi
  fi
  find_module "$module"
  if is_deployed; then
    running=$(deployed_hash)
    if [ "$running" = "$hash" ]; then
      create_topics
      say "module ${hash:0:12} is deployed already"
      wait_until_it_runs 1
      return
    fi
    say "upgrading from ${running:-a module of somebody else} to $hash; its offsets stay"
    looks=5
  fi
  check_module
  create_topics
  load_topics
  deploy_module "${from_offset:-+0}"
  wait_until_it_runs "$looks"
  show_log
}

rollback() {
  load_topics
  load_transforms
  is_deployed || die "there is no transform $name"
  open_state
  local running before
  running=$(deployed_hash)
  before=$(previous_module)
  [ -n "$before" ] || die "no module is kept in $state but the one that runs"
  say "rolling back from ${running:-a module of somebody else} ($(described "$running")) to $before ($(described "$before"))"
  wasm=$state/$before.wasm hash=$before origin="a roll back"
  deploy_module +0
  wait_until_it_runs 5
  show_log
}

pause() {
  local deadline=$((SECONDS + patience))
  load_transforms
  is_deployed || die "there is no transform $name"
  rpk transform pause "$name" || die "cannot pause $name"
  while load_transforms; states | awk '$3 != "inactive" { some = 1 } END { exit !some }'; do
    if ((SECONDS >= deadline)); then show_states >&2; die "$name still runs after $patience s"; fi
    sleep 1
  done
  say "$name is paused; its offsets stay (deploy.sh resume)"
}

resume() {
  load_topics
  load_transforms
  is_deployed || die "there is no transform $name"
  open_state
  hash=$(deployed_hash)
  rpk transform resume "$name" || die "cannot resume $name"
  wait_until_it_runs 2
}

status() {
  load_transforms
  is_deployed || die "there is no transform $name"
  open_state
  hash=$(deployed_hash)
  say "$name, module ${hash:-of somebody else} ($(described "$hash"))"
  show_states
}

remove() {
  load_transforms
  is_deployed || { say "there is no transform $name"; return; }
  say "removing $name and its offsets: a later deploy begins anew. The topics stay."
  if [ "${1:-}" = --yes ]; then
    rpk transform delete "$name" --no-confirm || die "cannot delete $name"
  elif [ -t 0 ]; then
    rpk transform delete "$name" || die "cannot delete $name"
  else
    die "nobody is here to confirm it: deploy.sh remove --yes"
  fi
}

command -v rpk >/dev/null || die "needs rpk, Redpanda's command-line tool"
[[ $prefix =~ ^[A-Za-z0-9._-]*$ ]] || die "TICKPANDA_TOPIC_PREFIX is '$prefix': topic names have letters, digits, '.', '_' and '-'"
if [ -n "${TICKPANDA_PARTITIONS:-}" ]; then number TICKPANDA_PARTITIONS "$TICKPANDA_PARTITIONS" partitions; fi
if [ -n "${TICKPANDA_REPLICAS:-}" ]; then number TICKPANDA_REPLICAS "$TICKPANDA_REPLICAS" replicas; fi
number TICKPANDA_DEPLOY_WAIT "$patience" seconds

wasm='' hash='' state=''
command=deploy
case ${1:-} in
  deploy|upgrade|rollback|pause|resume|status|logs|remove) command=$1; shift ;;
  -h|--help|help) usage; exit ;;
esac
case $command in
  deploy|upgrade)
    module='' again=false from_offset=''
    while (($#)); do
      case $1 in
        --emit-again) again=true ;;
        --from-offset)
          from_offset=${2:-}
          [[ $from_offset =~ ^[@+-][0-9]+$ ]] || die "--from-offset is @MILLISECONDS, +N or -N"
          shift ;;
        -*) die "unknown option $1 (deploy.sh --help)" ;;
        *) [ -z "$module" ] || die "one module, not '$module' and '$1'"; module=$1 ;;
      esac
      shift
    done
    if [ "$command" = upgrade ]; then
      if $again || [ -n "$from_offset" ]; then die "an upgrade keeps its offsets: $command takes a module only"; fi
      deploy true "$module" false ''
    else
      deploy false "$module" "$again" "$from_offset"
    fi ;;
  logs) rpk transform logs "$name" "$@" ;;
  remove)
    [[ $# -eq 0 || ( $# -eq 1 && $1 = --yes ) ]] || die "remove takes --yes or nothing"
    remove "$@" ;;
  *)
    [ $# -eq 0 ] || die "$command takes no arguments"
    "$command" ;;
esac
