// The Java client as a peer of the clients suite: a JSON command a line on standard input, a JSON
// answer a line on standard output. What the commands are is in `remote.rs`. Run as a source file, with
// Kafka's own jars.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

public class JavaPeer {
    static final long PATIENCE_MS = 30_000;
    static final ObjectMapper JSON = new ObjectMapper();
    static String brokers;
    static Admin admin;

    static byte[] unhex(JsonNode text) {
        return text == null || text.isNull() ? null : HexFormat.of().parseHex(text.asText());
    }

    static String tohex(byte[] bytes) {
        return bytes == null ? null : HexFormat.of().formatHex(bytes);
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(20, TimeUnit.SECONDS);
    }

    static Map<String, Object> produce(JsonNode c) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", brokers, "enable.idempotence", true, "linger.ms", 50,
            "compression.type", c.get("codec").asText());
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode r : c.get("records")) {
                var record = new ProducerRecord<byte[], byte[]>(
                    c.get("topic").asText(), c.get("partition").asInt(), r.get("timestamp").asLong(),
                    unhex(r.get("key")), unhex(r.get("value")));
                for (JsonNode h : r.get("headers")) {
                    record.headers().add(h.get(0).asText(), unhex(h.get(1)));
                }
                sent.add(producer.send(record));
            }
            producer.flush();
            List<Long> offsets = new ArrayList<>();
            for (var one : sent) {
                offsets.add(get(one).offset());
            }
            return Map.of("offsets", offsets);
        }
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> more) {
        Map<String, Object> settings = new LinkedHashMap<>(Map.of(
            "bootstrap.servers", brokers, "enable.auto.commit", false, "auto.offset.reset", "earliest"));
        settings.putAll(more);
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static TopicPartition partition(JsonNode c) {
        return new TopicPartition(c.get("topic").asText(), c.get("partition").asInt());
    }

    static Map<String, Object> read(JsonNode c) {
        try (var consumer = consumer(Map.of())) {
            consumer.assign(List.of(partition(c)));
            consumer.seek(partition(c), c.get("from").asLong());
            List<Map<String, Object>> records = new ArrayList<>();
            long deadline = System.currentTimeMillis() + PATIENCE_MS;
            while (records.size() < c.get("count").asInt()) {
                if (System.currentTimeMillis() > deadline) {
                    throw new TimeoutException("only " + records.size() + " records came");
                }
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofSeconds(1))) {
                    Map<String, Object> record = new LinkedHashMap<>();
                    record.put("offset", r.offset());
                    record.put("timestamp", r.timestamp());
                    record.put("key", tohex(r.key()));
                    record.put("value", tohex(r.value()));
                    List<List<String>> headers = new ArrayList<>();
                    for (Header h : r.headers()) {
                        List<String> header = new ArrayList<>();
                        header.add(h.key());
                        header.add(tohex(h.value()));
                        headers.add(header);
                    }
                    record.put("headers", headers);
                    records.add(record);
                }
            }
            return Map.of("records", records);
        }
    }

    static Map<String, Object> time(JsonNode c) {
        try (var consumer = consumer(Map.of())) {
            OffsetAndTimestamp found =
                consumer.offsetsForTimes(Map.of(partition(c), c.get("at").asLong())).get(partition(c));
            return Map.of("offset", found == null ? -1 : found.offset());
        }
    }

    static class Member implements AutoCloseable {
        final KafkaConsumer<byte[], byte[]> consumer;
        final List<String> values = new ArrayList<>();
        int read;

        Member(JsonNode c) {
            consumer = consumer(Map.of(
                "group.id", c.get("group").asText(), "session.timeout.ms", 10_000, "heartbeat.interval.ms", 300));
            consumer.subscribe(List.of(c.get("topic").asText()));
        }

        void poll() {
            for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(50))) {
                read++;
                values.add(r.value() == null ? null : new String(r.value(), StandardCharsets.UTF_8));
            }
        }

        List<Integer> has() {
            return new TreeSet<>(consumer.assignment().stream().map(TopicPartition::partition).toList()).stream().toList();
        }

        @Override
        public void close() {
            consumer.close();
        }
    }

    static void until(Supplier<String> what, BooleanSupplier done, Runnable step) {
        until(PATIENCE_MS, what, done, step);
    }

    static void until(long patience, Supplier<String> what, BooleanSupplier done, Runnable step) {
        long deadline = System.currentTimeMillis() + patience;
        while (!done.getAsBoolean()) {
            if (System.currentTimeMillis() > deadline) {
                throw new TimeoutException(what.get());
            }
            step.run();
        }
    }

    // One member reads everything, shares with a second, and has all again when that one leaves.
    static Map<String, Object> group(JsonNode c) throws Exception {
        int partitions = c.get("partitions").asInt();
        Map<String, Object> answer = new LinkedHashMap<>();
        try (Member a = new Member(c)) {
            until(() -> "the first member read " + a.read + " and has " + a.has(),
                () -> a.read >= c.get("count").asInt() && a.has().size() == partitions, a::poll);
            answer.put("first", a.has());
            a.consumer.commitSync();
            try (Member b = new Member(c)) {
                until(() -> "the members have " + a.has() + " and " + b.has(),
                    () -> !a.has().isEmpty() && !b.has().isEmpty() && a.has().size() + b.has().size() == partitions,
                    () -> {
                        a.poll();
                        b.poll();
                    });
                answer.put("shared", List.of(a.has(), b.has()));
                answer.put("again", b.read);
                answer.putAll(described(c));
            }
            until(() -> "the remaining member has " + a.has(), () -> a.has().size() == partitions, a::poll);
            answer.put("last", a.has());
            answer.put("read", a.read);
        }
        return answer;
    }

    // Reads until there are so many different values, and commits what it has after each poll. A commit of one
    // who is no member any more is no failure: it joins again, and reads once more what was not committed.
    static Map<String, Object> follow(JsonNode c) {
        try (Member a = new Member(c)) {
            int count = c.get("count").asInt();
            until(2 * PATIENCE_MS, () -> "it has read " + a.values, () -> new TreeSet<>(a.values).size() >= count, () -> {
                int before = a.read;
                a.poll();
                if (a.read > before) {
                    try {
                        a.consumer.commitSync();
                    } catch (CommitFailedException lost) {
                        // said above
                    }
                }
            });
            return Map.of("values", a.values);
        }
    }

    // A transaction, committed or aborted, once its records are on the broker.
    static Map<String, Object> transact(JsonNode c) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", brokers, "transactional.id", "foreign");
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            for (JsonNode r : c.get("records")) {
                producer.send(new ProducerRecord<>(
                    c.get("topic").asText(), c.get("partition").asInt(), null, unhex(r.get("value"))));
            }
            producer.flush();
            if (c.get("commit").asBoolean()) {
                producer.commitTransaction();
            } else {
                producer.abortTransaction();
            }
            return Map.of();
        }
    }

    // Sends numbers, one each 20 ms.
    static Map<String, Object> drip(JsonNode c) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", brokers, "enable.idempotence", true);
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int n = 0; n < c.get("count").asInt(); n++) {
                byte[] value = Integer.toString(n).getBytes(StandardCharsets.UTF_8);
                sent.add(producer.send(new ProducerRecord<>(c.get("topic").asText(), 0, null, value)));
                Thread.sleep(20);
            }
            for (var one : sent) {
                get(one);
            }
            return Map.of();
        }
    }

    static Map<String, Object> described(JsonNode c) throws Exception {
        String group = c.get("group").asText();
        ConsumerGroupDescription found =
            get(admin.describeConsumerGroups(List.of(group)).describedGroups().get(group));
        return Map.of("state", found.groupState().toString(), "members", found.members().size());
    }

    static Map<String, Object> committed(JsonNode c) throws Exception {
        Map<String, Long> offsets = new TreeMap<>();
        get(admin.listConsumerGroupOffsets(c.get("group").asText()).partitionsToOffsetAndMetadata())
            .forEach((partition, offset) -> {
                if (partition.topic().equals(c.get("topic").asText())) {
                    offsets.put(Integer.toString(partition.partition()), offset.offset());
                }
            });
        return Map.of("offsets", offsets);
    }

    static ConfigResource resource(JsonNode c) {
        return new ConfigResource(ConfigResource.Type.TOPIC, c.get("topic").asText());
    }

    static Map<String, Object> alter(JsonNode c) throws Exception {
        Collection<AlterConfigOp> changes = new ArrayList<>();
        c.get("configs").fields().forEachRemaining(config -> {
            boolean delete = config.getValue().isNull();
            changes.add(new AlterConfigOp(
                new ConfigEntry(config.getKey(), delete ? null : config.getValue().asText()),
                delete ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET));
        });
        get(admin.incrementalAlterConfigs(Map.of(resource(c), changes)).all());
        return Map.of();
    }

    static Map<String, Object> configs(JsonNode c) throws Exception {
        Map<String, String> configs = new TreeMap<>();
        get(admin.describeConfigs(List.of(resource(c))).all()).get(resource(c)).entries()
            .forEach(entry -> configs.put(entry.name(), entry.value()));
        return Map.of("configs", configs);
    }

    static Map<String, String> text(JsonNode map) {
        Map<String, String> text = new TreeMap<>();
        map.fields().forEachRemaining(entry -> text.put(entry.getKey(), entry.getValue().asText()));
        return text;
    }

    static Map<String, Object> logDirs() throws Exception {
        Map<String, Long> sizes = new TreeMap<>();
        get(admin.describeLogDirs(List.of(0)).allDescriptions()).get(0).values().forEach(dir ->
            dir.replicaInfos().forEach((partition, info) -> sizes.put(partition.toString(), info.size())));
        return Map.of("sizes", sizes);
    }

    static Map<String, Object> acls() throws Exception {
        try {
            throw new IllegalStateException("there are ACLs: " + get(admin.describeAcls(AclBindingFilter.ANY).values()));
        } catch (ExecutionException refused) {
            return Map.of("refused", refused.getCause().toString());
        }
    }

    static Map<String, Object> transaction() {
        Map<String, Object> settings =
            Map.of("bootstrap.servers", brokers, "transactional.id", "t", "max.block.ms", 15_000);
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
        } catch (TimeoutException error) {
            throw error;
        } catch (RuntimeException refused) {
            return Map.of("refused", refused.toString());
        }
        throw new IllegalStateException("the transaction was not refused");
    }

    // A group of KIP-848, which the broker does not serve.
    static Map<String, Object> newProtocol(JsonNode c) {
        try (var consumer = consumer(Map.of("group.id", "new", "group.protocol", "consumer"))) {
            consumer.subscribe(List.of(c.get("topic").asText()));
            long deadline = System.currentTimeMillis() + 15_000;
            while (System.currentTimeMillis() < deadline) {
                consumer.poll(Duration.ofSeconds(1));
            }
        } catch (RuntimeException refused) {
            return Map.of("refused", refused.toString());
        }
        throw new IllegalStateException("it was not refused");
    }

    static Map<String, Object> serve(JsonNode c) throws Exception {
        String topic = c.path("topic").asText(), group = c.path("group").asText();
        int partitions = c.path("partitions").asInt();
        switch (c.get("do").asText()) {
            case "version":
                return Map.of("version", AppInfoParser.getVersion());
            case "create":
                var created = new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(text(c.get("configs")));
                get(admin.createTopics(List.of(created)).all());
                return Map.of();
            case "delete":
                get(admin.deleteTopics(List.of(topic)).all());
                return Map.of();
            case "topics":
                return Map.of("topics", get(admin.listTopics().names()));
            case "produce":
                return produce(c);
            case "read":
                return read(c);
            case "time":
                return time(c);
            case "group":
                return group(c);
            case "follow":
                return follow(c);
            case "transact":
                return transact(c);
            case "drip":
                return drip(c);
            case "committed":
                return committed(c);
            case "groups":
                return Map.of("groups", get(admin.listGroups().all()).stream().map(it -> it.groupId()).toList());
            case "describe_group":
                return described(c);
            case "delete_group":
                get(admin.deleteConsumerGroups(List.of(group)).all());
                return Map.of();
            case "configs":
                return configs(c);
            case "alter":
                return alter(c);
            case "grow":
                get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all());
                return Map.of();
            case "delete_records":
                var before = RecordsToDelete.beforeOffset(c.get("from").asLong());
                return Map.of("low", get(admin.deleteRecords(Map.of(partition(c), before)).lowWatermarks().get(partition(c))).lowWatermark());
            case "cluster":
                var cluster = admin.describeCluster();
                return Map.of("id", get(cluster.clusterId()), "brokers", get(cluster.nodes()).size());
            case "log_dirs":
                return logDirs();
            case "acls":
                return acls();
            case "transaction":
                return transaction();
            case "new_protocol":
                return newProtocol(c);
            default:
                throw new IllegalArgumentException("no such command");
        }
    }

    public static void main(String[] args) throws Exception {
        brokers = args[0];
        admin = Admin.create(Map.of("bootstrap.servers", brokers));
        var in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> answer;
            try {
                answer = serve(JSON.readTree(line));
            } catch (ExecutionException error) {
                answer = Map.of("error", error.getCause().toString());
            } catch (Exception error) {
                answer = Map.of("error", error.toString());
            }
            System.out.println(JSON.writeValueAsString(answer));
        }
        admin.close();
    }
}
