#!/usr/bin/env bash
# What the image's own entry does at the first start: a cluster with POSTGRES_PASSWORD, a server on the Unix
# socket only, in which POSTGRES_DB is made with the extension; then the server itself.
set -euo pipefail
: "${POSTGRES_PASSWORD:?}"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -D "$PGDATA" -U postgres --pwfile=<(echo "$POSTGRES_PASSWORD") --auth-host=scram-sha-256 --auth-local=trust >/dev/null
  {
    echo "shared_preload_libraries = 'timescaledb'"
    echo "listen_addresses = '*'"
    echo "timescaledb.telemetry_level = off"
  } >>"$PGDATA/postgresql.conf"
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w start -o "-c listen_addresses=''" >/dev/null
  createdb -U postgres "${POSTGRES_DB:-postgres}"
  psql -qU postgres -d "${POSTGRES_DB:-postgres}" -c 'CREATE EXTENSION timescaledb' 2>/dev/null
  pg_ctl -D "$PGDATA" -w -m fast stop >/dev/null
fi
exec "$@"
