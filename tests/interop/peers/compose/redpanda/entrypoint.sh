#!/usr/bin/env bash
# Takes the arguments that docker-compose.yml gives to Redpanda, and no others, and starts the local broker
# as they say. It has one listener, so the second one, for programs outside of the containers, leads nowhere.
set -euo pipefail
die() { echo "entrypoint: $*" >&2; exit 1; }
[ "${1:-} ${2:-}" = "redpanda start" ] || exec "$@"
shift 2
listen='' advertise=''
for argument; do
  value=${argument#*=}
  case $argument in
    --mode=dev-container|--smp=1|--memory=1G) ;;
    --kafka-addr=internal://*,external://*) listen=${value%%,*} ;;
    --advertise-kafka-addr=internal://*,external://*) advertise=${value%%,*} ;;
    *) die "Redpanda is not known to take $argument" ;;
  esac
done
if [ -z "$listen" ] || [ -z "$advertise" ]; then die "no internal listener"; fi

# Its start command writes its settings there.
echo "# written at the start" >>/etc/redpanda/redpanda.yaml
bootstrap=/etc/redpanda/.bootstrap.yaml
grep -qx 'data_transforms_enabled: true' "$bootstrap" || die "data transforms are not enabled"
# Of the memory settings the broker has this one only: whatever is reserved for all transforms together, it
# reserves ten times the limit, and has room for ten.
limit=$(sed -n 's/^data_transforms_per_function_memory_limit: //p' "$bootstrap")
exec tickpanda broker --data-dir /var/lib/redpanda/data --allow-remote --no-topics \
  --listen "${listen#internal://}" --advertise "${advertise#internal://}" \
  --admin-listen 0.0.0.0:9644 --memory-limit "$limit" --timing broker
