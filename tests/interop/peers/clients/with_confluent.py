"""confluent-kafka (librdkafka) as a peer of the clients suite."""

import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, AdminClient
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic
from confluent_kafka.admin import ResourcePatternType, ResourceType
from confluent_kafka import ConsumerGroupTopicPartitions

from peer import PATIENCE, follow, rebalance, serve, tohex, unhex

BROKERS = sys.argv[1]
ADMIN = AdminClient({"bootstrap.servers": BROKERS})


def done(futures):
    """The one result of a call that takes several."""
    ((_, future),) = futures.items()
    return future.result(timeout=20)


def produce(c):
    producer = Producer(
        {
            "bootstrap.servers": BROKERS,
            "enable.idempotence": True,
            "compression.type": c["codec"],
            "linger.ms": 50,
        }
    )
    offsets, errors = [], []

    def report(error, message):
        if error is None:
            offsets.append(message.offset())
        else:
            errors.append(str(error))

    for r in c["records"]:
        producer.produce(
            c["topic"],
            key=unhex(r["key"]),
            value=unhex(r["value"]),
            headers=[(name, unhex(value)) for name, value in r["headers"]],
            partition=c["partition"],
            timestamp=r["timestamp"],
            on_delivery=report,
        )
    if producer.flush(20) or errors:
        raise RuntimeError(f"not all was delivered: {errors}")
    return {"offsets": offsets}


def read(c):
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": "none", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(c["topic"], c["partition"], c["from"])])
        records = []
        while len(records) < c["count"]:
            r = consumer.poll(20)
            if r is None:
                raise TimeoutError(f"{len(records)} of {c['count']} records came")
            if r.error():
                raise KafkaException(r.error())
            headers = [[name, tohex(value)] for name, value in r.headers() or []]
            records.append(
                {
                    "offset": r.offset(),
                    "timestamp": r.timestamp()[1],
                    "key": tohex(r.key()),
                    "value": tohex(r.value()),
                    "headers": headers,
                }
            )
        return {"records": records}
    finally:
        consumer.close()


def at_time(c):
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": "none"})
    try:
        asked = TopicPartition(c["topic"], c["partition"], c["at"])
        (found,) = consumer.offsets_for_times([asked], timeout=20)
        return {"offset": found.offset}
    finally:
        consumer.close()


class Member:
    def __init__(self, c):
        self.values = []
        self.consumer = Consumer(
            {
                "bootstrap.servers": BROKERS,
                "group.id": c["group"],
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 300,
            }
        )
        self.consumer.subscribe([c["topic"]])

    def poll(self):
        message = self.consumer.poll(0.05)
        if message is not None and message.error():
            raise KafkaException(message.error())
        if message is not None:
            self.values.append(message.value())

    @property
    def read(self):
        return len(self.values)

    def has(self):
        return sorted(partition.partition for partition in self.consumer.assignment())

    def commit(self):
        self.consumer.commit(asynchronous=False)

    def close(self):
        self.consumer.close()


def lost_membership(error):
    lost = (confluent_kafka.KafkaError.ILLEGAL_GENERATION, confluent_kafka.KafkaError.UNKNOWN_MEMBER_ID)
    return isinstance(error, KafkaException) and error.args[0].code() in lost


def drip(c):
    producer = Producer({"bootstrap.servers": BROKERS, "enable.idempotence": True, "linger.ms": 0})
    errors = []
    for n in range(c["count"]):
        producer.produce(
            c["topic"],
            value=str(n),
            partition=0,
            on_delivery=lambda error, _: error and errors.append(str(error)),
        )
        producer.poll(0)
        time.sleep(0.02)
    if producer.flush(PATIENCE) or errors:
        raise RuntimeError(f"not all was delivered: {errors}")


def described(group):
    found = done(ADMIN.describe_consumer_groups([group]))
    state = {"STABLE": "Stable", "EMPTY": "Empty", "DEAD": "Dead"}.get(found.state.name, found.state.name)
    return {"state": state, "members": len(found.members)}


def group(c):
    return rebalance(
        lambda: Member(c), c["partitions"], c["count"], lambda: described(c["group"])
    )


def committed(c):
    asked = ConsumerGroupTopicPartitions(c["group"])
    found = done(ADMIN.list_consumer_group_offsets([asked])).topic_partitions
    return {"offsets": {p.partition: p.offset for p in found if p.topic == c["topic"]}}


def groups(_):
    found = ADMIN.list_consumer_groups().result(timeout=20)
    if found.errors:
        raise KafkaException(found.errors[0])
    return {"groups": [group.group_id for group in found.valid]}


def alter(c):
    changes = [
        ConfigEntry(
            name,
            value,
            incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
        )
        for name, value in c["configs"].items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, c["topic"], incremental_configs=changes)
    done(ADMIN.incremental_alter_configs([resource]))


def replace(c):
    resource = ConfigResource(ConfigResource.Type.TOPIC, c["topic"], set_config=c["configs"])
    done(ADMIN.alter_configs([resource]))


def configs(c):
    found = done(ADMIN.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, c["topic"])]))
    return {"configs": {name: entry.value for name, entry in found.items()}}


def delete_records(c):
    deleted = done(ADMIN.delete_records([TopicPartition(c["topic"], c["partition"], c["from"])]))
    return {"low": deleted.low_watermark}


def cluster(_):
    found = ADMIN.describe_cluster().result(timeout=20)
    return {"id": found.cluster_id, "brokers": len(found.nodes)}


def acls(_):
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    try:
        found = ADMIN.describe_acls(everything).result(timeout=20)
    except KafkaException as refused:
        return {"refused": str(refused)}
    if found:
        raise RuntimeError(f"there are ACLs: {found}")
    return {"refused": "librdkafka takes SECURITY_DISABLED for no ACLs"}


def transaction(_):
    producer = Producer({"bootstrap.servers": BROKERS, "transactional.id": "t"})
    try:
        producer.init_transactions(15)
    except KafkaException as refused:
        if refused.args[0].code() == confluent_kafka.KafkaError._TIMED_OUT:
            raise
        return {"refused": str(refused)}
    raise RuntimeError("the transaction was not refused")


def create(c):
    topic = NewTopic(c["topic"], c["partitions"], 1, config=c["configs"])
    done(ADMIN.create_topics([topic]))


serve(
    {
        "version": lambda _: {
            "version": f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"
        },
        "create": create,
        "delete": lambda c: done(ADMIN.delete_topics([c["topic"]])),
        "topics": lambda _: {"topics": list(ADMIN.list_topics(timeout=20).topics)},
        "produce": produce,
        "read": read,
        "time": at_time,
        "group": group,
        "follow": lambda c: follow(Member(c), c["count"], lost_membership),
        "drip": drip,
        "committed": committed,
        "groups": groups,
        "describe_group": lambda c: described(c["group"]),
        "delete_group": lambda c: done(ADMIN.delete_consumer_groups([c["group"]])),
        "configs": configs,
        "alter": alter,
        "replace": replace,
        "grow": lambda c: done(ADMIN.create_partitions([NewPartitions(c["topic"], c["partitions"])])),
        "delete_records": delete_records,
        "cluster": cluster,
        "acls": acls,
        "transaction": transaction,
    }
)
