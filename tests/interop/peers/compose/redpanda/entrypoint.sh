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
setting() { sed -n "s/^data_transforms_per_$1: //p" "$bootstrap"; }
exec tickpanda broker --data-dir /var/lib/redpanda/data --allow-remote --no-topics \
  --listen "${listen#internal://}" --advertise "${advertise#internal://}" \
  --admin-listen 0.0.0.0:9644 --timing broker \
  --memory-limit "$(setting function_memory_limit)" --memory-reservation "$(setting core_memory_reservation)"
