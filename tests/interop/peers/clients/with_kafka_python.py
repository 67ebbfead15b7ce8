"""kafka-python as a peer of the clients suite."""

import sys
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.admin import ResourcePatternFilter, ResourceType

from peer import PATIENCE, follow, rebalance, serve, tohex, unhex

BROKERS = sys.argv[1]


def admin():
    return KafkaAdminClient(bootstrap_servers=BROKERS)


def with_admin(call):
    def command(c):
        client = admin()
        try:
            return call(client, c)
        finally:
            client.close()

    return command


def produce(c):
    codec = None if c["codec"] == "none" else c["codec"]
    producer = KafkaProducer(
        bootstrap_servers=BROKERS, enable_idempotence=True, compression_type=codec, linger_ms=50
    )
    try:
        sent = [
            producer.send(
                c["topic"],
                key=unhex(r["key"]),
                value=unhex(r["value"]),
                headers=[(name, unhex(value)) for name, value in r["headers"]],
                partition=c["partition"],
                timestamp_ms=r["timestamp"],
            )
            for r in c["records"]
        ]
        producer.flush()
        return {"offsets": [future.get(timeout=20).offset for future in sent]}
    finally:
        producer.close()


def read(c):
    consumer = KafkaConsumer(bootstrap_servers=BROKERS, enable_auto_commit=False)
    try:
        partition = TopicPartition(c["topic"], c["partition"])
        consumer.assign([partition])
        consumer.seek(partition, c["from"])
        records = []
        while len(records) < c["count"]:
            polled = consumer.poll(timeout_ms=20_000).get(partition, [])
            if not polled:
                raise TimeoutError(f"{len(records)} of {c['count']} records came")
            for r in polled:
                headers = [[name, tohex(value)] for name, value in r.headers]
                records.append(
                    {
                        "offset": r.offset,
                        "timestamp": r.timestamp,
                        "key": tohex(r.key),
                        "value": tohex(r.value),
                        "headers": headers,
                    }
                )
        return {"records": records}
    finally:
        consumer.close()


def at_time(c):
    consumer = KafkaConsumer(bootstrap_servers=BROKERS)
    try:
        partition = TopicPartition(c["topic"], c["partition"])
        return {"offset": consumer.offsets_for_times({partition: c["at"]})[partition].offset}
    finally:
        consumer.close()


class Member:
    def __init__(self, c):
        self.values = []
        self.topic = c["topic"]
        self.consumer = KafkaConsumer(
            bootstrap_servers=BROKERS,
            group_id=c["group"],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=300,
        )
        self.consumer.subscribe([self.topic])

    def poll(self):
        for records in self.consumer.poll(timeout_ms=100).values():
            self.values += [record.value for record in records]

    @property
    def read(self):
        return len(self.values)

    def has(self):
        return sorted(partition.partition for partition in self.consumer.assignment())

    def commit(self):
        self.consumer.commit()

    def close(self):
        self.consumer.close()


def drip(c):
    producer = KafkaProducer(bootstrap_servers=BROKERS, enable_idempotence=True)
    try:
        sent = []
        for n in range(c["count"]):
            sent.append(producer.send(c["topic"], value=str(n).encode(), partition=0))
            time.sleep(0.02)
        for future in sent:
            future.get(timeout=PATIENCE)
    finally:
        producer.close()


def described(client, group):
    found = client.describe_groups([group])[group]
    return {"state": found["group_state"], "members": len(found["members"])}


def group(c):
    client = admin()
    try:
        return rebalance(
            lambda: Member(c), c["partitions"], c["count"], lambda: described(client, c["group"])
        )
    finally:
        client.close()


def committed(client, c):
    found = client.list_group_offsets({c["group"]: None})[c["group"]]
    return {"offsets": {p.partition: at.offset for p, at in found.items() if p.topic == c["topic"]}}


def alter(client, c, whole=False):
    changes = {
        name: ("DELETE", None) if value is None else ("SET", value)
        for name, value in c["configs"].items()
    }
    if whole:
        changes = c["configs"]
    resource = ConfigResource(ConfigResourceType.TOPIC, c["topic"], configs=changes)
    result = client.alter_configs([resource], incremental=not whole)["topic"][c["topic"]]
    if result != "OK":
        raise RuntimeError(result)


def configs(client, c):
    resource = ConfigResource(ConfigResourceType.TOPIC, c["topic"])
    found = client.describe_configs([resource], config_filter="all")["topic"][c["topic"]]
    return {"configs": {name: entry["value"] for name, entry in found.items()}}


def delete_records(client, c):
    partition = TopicPartition(c["topic"], c["partition"])
    return {"low": client.delete_records({partition: c["from"]})[partition]["low_watermark"]}


def delete_group(client, c):
    results = client.delete_groups([c["group"]])
    if results.get(c["group"]) not in ("OK", None):
        raise RuntimeError(results)


def cluster(client, _):
    found = client.describe_cluster()
    return {"id": found["cluster_id"], "brokers": len(found["brokers"])}


def log_dirs(client, _):
    return {
        "sizes": {
            f"{topic['name']}-{partition['partition_index']}": partition["partition_size"]
            for broker in client.describe_log_dirs()
            for log_dir in broker["log_dirs"]
            for topic in log_dir["topics"]
            for partition in topic["partitions"]
        }
    }


def acls(client, _):
    everything = ACLFilter(
        principal=None,
        host=None,
        operation=ACLOperation.ANY,
        permission_type=ACLPermissionType.ANY,
        resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )
    try:
        found, error = client.describe_acls(everything)
    except Exception as refused:
        return {"refused": f"{type(refused).__name__}: {refused}"}
    if error is kafka.errors.NoError:
        raise RuntimeError(f"there are ACLs: {found}")
    return {"refused": error.__name__}


def transaction(c):
    producer = KafkaProducer(bootstrap_servers=BROKERS, transactional_id="t", max_block_ms=15_000)
    try:
        producer.init_transactions()
    except kafka.errors.KafkaTimeoutError:
        raise
    except Exception as refused:
        return {"refused": f"{type(refused).__name__}: {refused}"}
    finally:
        producer.close(timeout=1)
    raise RuntimeError("the transaction was not refused")


def create(client, c):
    options = {"num_partitions": c["partitions"], "replication_factor": 1, "configs": c["configs"]}
    client.create_topics({c["topic"]: options})


serve(
    {
        "version": lambda _: {"version": kafka.__version__},
        "create": with_admin(create),
        "delete": with_admin(lambda client, c: client.delete_topics([c["topic"]]) and None),
        "topics": with_admin(lambda client, _: {"topics": client.list_topics()}),
        "produce": produce,
        "read": read,
        "time": at_time,
        "group": group,
        "follow": lambda c: follow(
            Member(c), c["count"], lambda error: isinstance(error, kafka.errors.CommitFailedError)
        ),
        "drip": drip,
        "committed": with_admin(committed),
        "groups": with_admin(
            lambda client, _: {"groups": [g["group_id"] for g in client.list_groups()]}
        ),
        "describe_group": with_admin(lambda client, c: described(client, c["group"])),
        "delete_group": with_admin(delete_group),
        "configs": with_admin(configs),
        "alter": with_admin(alter),
        "replace": with_admin(lambda client, c: alter(client, c, whole=True)),
        "grow": with_admin(
            lambda client, c: client.create_partitions({c["topic"]: c["partitions"]}) and None
        ),
        "delete_records": with_admin(delete_records),
        "cluster": with_admin(cluster),
        "log_dirs": with_admin(log_dirs),
        "acls": with_admin(acls),
        "transaction": transaction,
    }
)
