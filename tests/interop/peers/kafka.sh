#!/usr/bin/env bash
# A real Apache Kafka broker (KRaft, one node, loopback) from Maven Central's own jars: needs java 17+ and mvn, no tarball.
#
#   kafka.sh fetch            the jars, into the cache
#   kafka.sh start            on the data that is there; prints host:port once it serves
#   kafka.sh stop             SIGTERM
#   kafka.sh kill             kill -9
#   kafka.sh tool CLASS ARGS  a class of the jars, e.g. org.apache.kafka.tools.TopicCommand
#
# Environment: KAFKA_CACHE  the folder for the jars
#              KAFKA_DATA   the folder for a broker's data, settings and log
#              KAFKA_PORT   where it listens; the controller takes KAFKA_CONTROLLER_PORT
#              KAFKA_EXTRA  a file of further settings, which win over those here
set -euo pipefail
version=4.3.1 # 4.4.0 starts too, but its kafka-tools are not served
: "${KAFKA_CACHE:?names the folder for the jars}"
libs=$KAFKA_CACHE/libs-$version
data=${KAFKA_DATA:-}
java=(java -Xms256m -Xmx256m -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$libs/*") # java expands the *

fetch() {
  [ ! -e "$libs/.complete" ] || return 0
  mkdir -p "$libs"
  exec 9>"$libs/.lock"
  flock 9 # two at once would copy over each other
  [ ! -e "$libs/.complete" ] || { exec 9>&-; return 0; } # else the broker inherits the lock
  cat >"$libs/pom.xml" <<X
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>x</groupId><artifactId>kafka-home</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
X
  mvn -q -B -f "$libs/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$libs" >&2
  touch "$libs/.complete"
  exec 9>&-
}

pid() { cat "$data/pid" 2>/dev/null || true; }
running() { tr '\0' ' ' 2>/dev/null <"/proc/$(pid)/cmdline" | grep -qF "$data/server.properties"; }

settings() {
  cat <<X
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$KAFKA_CONTROLLER_PORT
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
log.dirs=$data/logs
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.ms=-1
log.cleaner.dedupe.buffer.size=16777216
X
  # log.retention.ms: recorded frames carry old timestamps, and the default of 7 days would delete them at once.
  if [ -n "${KAFKA_EXTRA:-}" ]; then cat "$KAFKA_EXTRA"; fi
}

start() {
  : "${KAFKA_DATA:?} ${KAFKA_PORT:?} ${KAFKA_CONTROLLER_PORT:?}"
  fetch
  if ! running; then
    if [ ! -e "$data/server.properties" ]; then
      mkdir -p "$data"
      settings >"$data/server.properties"
      "${java[@]}" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg -c "$data/server.properties" >"$data/format.log" 2>&1 ||
        { cat "$data/format.log" >&2; exit 1; }
    fi
    : >"$data/broker.log" # the one before said that it had started, too
    "${java[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=info kafka.Kafka "$data/server.properties" >>"$data/broker.log" 2>&1 </dev/null &
    echo $! >"$data/pid"
    for _ in $(seq 600); do
      ! grep -q 'Kafka Server started' "$data/broker.log" || break
      running || { tail -n 20 "$data/broker.log" >&2; exit 1; }
      sleep 0.1
    done
    grep -q 'Kafka Server started' "$data/broker.log" || { tail -n 20 "$data/broker.log" >&2; exit 1; }
  fi
  echo "127.0.0.1:$KAFKA_PORT"
}

end() {
  running || return 0
  kill "-$1" "$(pid)"
  while running; do sleep 0.05; done
}

case ${1:-} in
  fetch) fetch ;;
  start) start ;;
  stop) end TERM ;;
  kill) end KILL ;;
  tool) shift; fetch; exec "${java[@]}" "$@" ;;
  *) sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
