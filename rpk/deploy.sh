#!/usr/bin/env bash
# Brings a Redpanda cluster to tickpanda's state: topics, then the transform. Safe to run again.
#
#   deploy.sh [deploy] [MODULE]   create what is missing, deploy or upgrade, wait until it really runs
#   deploy.sh upgrade [MODULE]    replace the module of a transform that is there; its offsets stay
#   deploy.sh rollback            put the module back that ran before; again, and it is the one before that
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

say() { echo "deploy.sh: $*"; }
die() { echo "deploy.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
number() { [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || die "$1 is '$2', not a number of $3"; }

# All of them now, because half way through a missing one looks like an empty answer.
missing=()
for tool in rpk awk cp date dirname mkdir mv od realpath rm sed sha256sum sleep sort tail timeout; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
((${#missing[@]} == 0)) ||
  die "not on the path: ${missing[*]}. Install them (rpk is Redpanda's command-line tool, the others are in coreutils, sed and any awk)"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=${TICKPANDA_TOPIC_PREFIX:-}
patience=${TICKPANDA_DEPLOY_WAIT:-120}
name=${prefix}tickpanda-transform
raw=${prefix}cryptocompare-raw
outputs=("${prefix}tick-data" "${prefix}ohlcv-data" "${prefix}dead-letter")
# A transform that fails is started again and again, and one that was replaced is shown for a moment
# longer: only what runs this many looks in a row, a second apart, is said to run.
looks=5

# --- What the cluster says. rpk's tables, because its image has no tool for JSON. ------------------
# Each answer goes into a variable before it is read: in a pipe, an rpk that fails is an empty answer.

# Name and partitions of every topic.
load_topics() {
  topics=$(rpk topic list) || die "cannot list topics: do RPK_BROKERS or rpk's profile name the cluster?"
}
partitions_of() { awk -v topic="$1" '$1 == topic { print $2 }' <<<"$topics"; }

# Records that a topic ever had: the sum of the high watermarks, which are rpk's last column. Fails unless
# every partition has one: where rpk could not ask, it prints `-` or the broker's error, and succeeds.
records_ever() {
  local described
  described=$(rpk topic describe --print-partitions "$1") || return 1
  awk 'NR == 1 { known = $NF == "HIGH-WATERMARK"; next }
       $NF !~ /^[0-9]+$/ { known = 0 }
       { sum += $NF }
       END { if (!known || NR < 2) exit 1; printf "%.0f\n", sum }' <<<"$described"
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

# The hash of the module that is deployed, in $running: the script gives it to the transform as a variable,
# and the cluster shows it. Empty where somebody else deployed it.
load_running() {
  local json between='","input_topic":"[^"]*","output_topics":\[[^]]*\],"environment":\{[^}]*"TICKPANDA_MODULE":"([0-9a-f]{64})"'
  json=$(rpk transform list --detailed --format json) || die "cannot list transforms"
  local ours='"name":"'${name//./\\.}$between
  running=''
  if [[ $json =~ $ours ]]; then running=${BASH_REMATCH[1]}; fi
}

# Everything about a transform that must be there.
load_ours() {
  load_transforms
  is_deployed || die "there is no transform $name"
  load_running
}

# --- Modules that were deployed from here, so that one can be put back. -----------------------------
# HASH.wasm  the modules, of the last five of each list
# history    hash, time and origin of what was deployed from here, whatever came of it; the newest last
# ran        hashes of what was then seen running, the newest last: what a roll back may go to

# The folder, in $state, below the cluster's id, for which it waits $1 seconds: a module of another cluster is
# none to roll back to. Never a folder that anybody could have made, because a roll back deploys what lies there.
find_state() {
  local folder=${TICKPANDA_DEPLOY_STATE:-} home=${XDG_STATE_HOME:-${HOME:+$HOME/.local/state}}
  local deadline=$((SECONDS + $1)) said cluster told=false
  if [ -z "$folder" ]; then
    [ -n "$home" ] || die "HOME is not set: set TICKPANDA_DEPLOY_STATE to the folder of yours where modules are to be kept for a roll back"
    folder=$home/tickpanda/deploy
  fi
  while :; do
    said=$(rpk cluster info --print-cluster) || die "cannot ask for the cluster's id, by which modules are kept for a roll back: do RPK_BROKERS or rpk's profile name the cluster?"
    cluster=$(awk 'NF && !/^(CLUSTER|=+)$/ { print $1; exit }' <<<"$said")
    # Redpanda makes its id some 10 s after its first start, and has this one for all clusters until then.
    case $cluster in ''|redpanda.initializing) ;; *) break ;; esac
    ((SECONDS < deadline)) || die "the cluster has no id after $1 s: does it have a controller (rpk cluster health)?"
    $told || say "waiting for the cluster to have an id"
    told=true
    sleep 1
  done
  state=$folder/${cluster//[^A-Za-z0-9.-]/_}/$name
}
open_state() {
  find_state "$patience"
  if ! { mkdir -p "$state" && : >>"$state/history" && : >>"$state/ran"; } 2>/dev/null; then
    die "cannot write to $state, where modules are kept for a roll back: set TICKPANDA_DEPLOY_STATE to a folder of yours"
  fi
}

sha256() { local sum; sum=$(sha256sum <"$1") && echo "${sum%% *}"; }

# Puts a line, which begins with a hash, at the end of a list that has one line for each, and the last $2.
# Fails with the list as it was.
put_last() {
  { awk -v hash="${3%%$'\t'*}" '$1 != hash' "$1" && printf '%s\n' "$3"; } | tail -n "$2" >"$1.new" && mv "$1.new" "$1"
}

# Keeps $wasm before anything is changed: what could not be kept could not be put back.
keep_module() {
  local file kept of
  {
    cp "$wasm" "$state/module.new" && [ "$(sha256 "$state/module.new")" = "$hash" ] &&
      mv "$state/module.new" "$state/$hash.wasm" &&
      put_last "$state/history" 20 "$hash"$'\t'"$(date -u '+%Y-%m-%d %H:%M:%S UTC')"$'\t'"$wasm"
  } || { rm -f "$state/module.new"; die "cannot keep $wasm in $state: nothing was changed. Is the disk full, or the module being built right now?"; }
  kept=$(tail -qn 5 "$state/ran" "$state/history")
  for file in "$state"/*.wasm; do
    of=${file##*/}
    [[ $kept = *"${of%.wasm}"* ]] || rm -f "$file"
  done
}

has_run() { awk -v hash="$1" '$1 == hash { found = 1 } END { exit !found }' "$state/ran"; }
note_run() { put_last "$state/ran" 5 "$1" || die "cannot note in $state that ${1:0:12} runs: a roll back would not find it"; }

# The newest module that ran before this one, or at all where this one never did, and is kept.
previous_module() {
  local candidate before=''
  while read -r candidate; do
    if [ "$candidate" = "$1" ]; then break; fi
    if [ -f "$state/$candidate.wasm" ]; then before=$candidate; fi
  done <"$state/ran"
  echo "$before"
}

# A module as people know it: its hash, and what is known of it.
shown() {
  local known=''
  if [ -n "$state" ] && [ -r "$state/history" ]; then
    known=$(awk -F '\t' -v hash="$1" '$1 == hash { line = $2 ", from " $3 } END { print line }' "$state/history")
  fi
  echo "${1:-unknown, deployed by somebody else}${known:+ ($known)}"
}

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
  if [[ $counts = *$'\n'* ]]; then
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

# The module, in $wasm; its hash in $hash.
find_module() {
  local file=$1
  if [ -z "$file" ]; then
    # `rpk transform build` works in the folder that holds transform.yaml.
    [ -f "$here/../transform/Cargo.toml" ] || die "no transform folder beside rpk: name a module that is already built"
    say "building the transform"
    (cd "$here/../transform" && rpk transform build) ||
      die "rpk transform build failed. Where it says that wasm32-wasi is no target: rpk before 24.3.9 and 25.1 asks for it, and Rust since 1.84 has wasm32-wasip1 instead (redpanda#25510). Take a newer rpk, or build without it: rpk/deploy.sh \"\$(cargo xtask wasm)\""
    file=$here/../transform/tickpanda-transform.wasm
  fi
  wasm=$(realpath -e "$file" 2>/dev/null) || die "no module at '$file'"
  [ "$(od -An -tx1 -N4 "$wasm")" = " 00 61 73 6d" ] || die "$wasm is no WebAssembly module"
  hash=$(sha256 "$wasm") || die "cannot read $wasm"
}

# Whether the broker would run it. It says so only after a deploy has succeeded, if at all.
check_module() {
  if ! command -v tickpanda >/dev/null || ! tickpanda --version >/dev/null 2>&1; then
    say "the program tickpanda is not here: the module is deployed without a check"
    return 0
  fi
  local report
  if report=$(tickpanda transform check "$wasm" 2>&1); then
    say "tickpanda transform check: ${report%%$'\n'*}"
  else
    echo "$report" >&2
    die "the broker would not run $wasm: nothing was changed"
  fi
}

# Deploys the module as it is kept. `--from-offset` counts only where the transform is new: without it the
# broker would begin at deploy time, and never transform what is on the raw topic already. It is passed always,
# because a transform that somebody removes in this moment must rather say something twice than leave something out.
deploy_module() {
  rpk transform deploy --file "$state/$hash.wasm" --name "$name" --from-offset "$1" \
    --input-topic "$raw" \
    --output-topic "${outputs[0]}" --output-topic "${outputs[1]}" --output-topic "${outputs[2]}" \
    --var "TICKPANDA_MODULE=$hash" || die "rpk transform deploy failed: deploy.sh status says what is deployed"
}

# Whether every partition runs, or does before $1 seconds have passed.
runs_within() {
  local deadline=$((SECONDS + $1)) in_a_row=0 now told='' count
  count=$(partitions_of "$raw")
  while :; do
    load_transforms
    now=$(states | awk '{ n[$3]++ } END { for (s in n) printf "%s%s %s", (k++ ? ", " : ""), n[s], s }')
    if [ "$now" = "$count running" ]; then
      in_a_row=$((in_a_row + 1))
      if ((in_a_row >= looks)); then return 0; fi
    else
      in_a_row=0
      if ((SECONDS >= deadline)); then return 1; fi
      if [ "$now" != "$told" ]; then say "waiting for $count partitions: ${now:-none is listed}"; told=$now; fi
    fi
    sleep 1
  done
}

wait_until_it_runs() {
  runs_within "$patience" || explain_why_not
  say "$name runs on all $(partitions_of "$raw") partitions, module ${hash:0:12}"
  show_states
}

explain_why_not() {
  {
    say "$name does not run on every partition after $patience s"
    show_states
    case $(states | awk '{ print $3 }') in
      *unknown*) say "unknown: the broker could not make it run, for instance because the module imports what the broker does not have. It tries again every 30 s; the reason is in the broker's log: 'failed to create transform processor $name'" ;;
      *errored*) say "errored: it starts and fails, again and again. What it wrote is below; the trap itself is in the broker's log: 'error running transform'" ;;
      *inactive*) say "inactive: it is starting, or paused (deploy.sh resume)" ;;
      *) say "no partition has a processor: has $raw leaders, and is the Admin API that of this cluster?" ;;
    esac
    if command -v tickpanda >/dev/null && [ -n "${wasm:-}" ]; then
      tickpanda transform check "$wasm" 2>&1 | sed -n 1,5p || true
    else
      say "tickpanda transform check FILE.wasm tells more about the module"
    fi
    show_log
    if [ -n "$state" ]; then
      local before
      before=$(previous_module "$hash")
      if [ -n "$before" ]; then say "deploy.sh rollback puts $(shown "$before") back"; fi
    fi
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

# --- Commands. --------------------------------------------------------------------------------------

deploy() {
  local only_upgrade=$1 module=$2 again=$3 from_offset=$4 topic records
  load_topics
  load_transforms  # before anything is created
  open_state
  agree_on_partitions
  if ! is_deployed; then
    if $only_upgrade; then die "there is no transform $name to upgrade: deploy.sh deploy"; fi
    if ! $again && [ -z "$from_offset" ]; then
      for topic in "${outputs[@]}"; do
        [ -n "$(partitions_of "$topic")" ] || continue
        records=$(records_ever "$topic") ||
          die "cannot tell whether $topic holds records, and nothing was changed: rpk topic describe --print-partitions $topic must have a high watermark for every partition. Run again when each has a leader, or say --emit-again or --from-offset, which need not know."
        if [ "$records" != 0 ]; then
          die "$topic holds records, and the transform that made them is gone with its offsets: deploying now would emit all that $raw still has once more (the sink keeps one of each; other readers see them twice). Say --emit-again if that is wanted, or --from-offset @MILLISECONDS to begin with what was received since then."
        fi
      done
    fi
  fi
  find_module "$module"
  if is_deployed; then
    load_running
    if [ "$running" = "$hash" ]; then
      say "module ${hash:0:12} is deployed already"
      if [ ! -f "$state/$hash.wasm" ]; then keep_module; fi
      create_topics
      if has_run "$hash"; then looks=1; fi
      wait_until_it_runs
      note_run "$hash"
      return
    fi
    say "upgrading from $(shown "$running") to $hash; its offsets stay"
    # It may have come to run after its deploy gave up, or be of a deploy.sh that noted nothing.
    if [ -f "$state/$running.wasm" ] && ! has_run "$running" && runs_within 0; then note_run "$running"; fi
  fi
  check_module
  keep_module
  create_topics
  load_topics
  deploy_module "${from_offset:-+0}"
  wait_until_it_runs
  note_run "$hash"
  show_log
}

rollback() {
  load_topics
  load_ours
  open_state
  hash=$(previous_module "$running")
  [ -n "$hash" ] || die "no module that is kept in $state is known to have run before the one that is deployed, $(shown "$running"). deploy.sh upgrade FILE.wasm takes any, also one of those: the file history there says what they are"
  wasm=$state/$hash.wasm
  [ "$(sha256 "$wasm")" = "$hash" ] ||
    die "$wasm was changed since it was kept (its SHA-256 is not its name), and nothing was changed: delete it to roll back further"
  say "rolling back from $(shown "$running") to $(shown "$hash")"
  check_module
  # What ran later is what is rolled back from: no later roll back returns to it.
  { sed "/^$hash\$/q" "$state/ran" >"$state/ran.new" && mv "$state/ran.new" "$state/ran"; } ||
    die "cannot write to $state: nothing was changed"
  deploy_module +0
  wait_until_it_runs
  show_log
}

pause() {
  local deadline=$((SECONDS + patience))
  load_ours
  rpk transform pause "$name" || die "cannot pause $name"
  while load_transforms; states | awk '$3 != "inactive" { some = 1 } END { exit !some }'; do
    if ((SECONDS >= deadline)); then show_states >&2; die "$name still runs after $patience s"; fi
    sleep 1
  done
  say "$name is paused; its offsets stay (deploy.sh resume)"
}

resume() {
  load_topics
  load_ours
  hash=$running
  rpk transform resume "$name" || die "cannot resume $name"
  wait_until_it_runs
}

status() {
  local module
  load_ours
  # Where the module came from is said if it is known here. Whoever only looks needs no folder for that.
  module=$(find_state 0 2>/dev/null && shown "$running") || module=$(shown "$running")
  say "$name, module $module"
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

[[ $prefix =~ ^[A-Za-z0-9._-]*$ ]] || die "TICKPANDA_TOPIC_PREFIX is '$prefix': topic names have letters, digits, '.', '_' and '-'"
if [ -n "${TICKPANDA_PARTITIONS:-}" ]; then number TICKPANDA_PARTITIONS "$TICKPANDA_PARTITIONS" partitions; fi
if [ -n "${TICKPANDA_REPLICAS:-}" ]; then number TICKPANDA_REPLICAS "$TICKPANDA_REPLICAS" replicas; fi
number TICKPANDA_DEPLOY_WAIT "$patience" seconds

wasm='' hash='' running='' state=''
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
