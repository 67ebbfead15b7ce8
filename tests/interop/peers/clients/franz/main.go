// franz-go (rpk's Kafka client) as a peer of the clients suite: a JSON command a line on standard
// input, a JSON answer a line on standard output. What the commands are is in `remote.rs`.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type header [2]*string

type record struct {
	Offset    *int64   `json:"offset,omitempty"`
	Timestamp int64    `json:"timestamp"`
	Key       *string  `json:"key"`
	Value     *string  `json:"value"`
	Headers   []header `json:"headers"`
}

type command struct {
	Do         string             `json:"do"`
	Topic      string             `json:"topic"`
	Partition  int32              `json:"partition"`
	Partitions int                `json:"partitions"`
	Configs    map[string]*string `json:"configs"`
	Codec      string             `json:"codec"`
	Records    []record           `json:"records"`
	From       int64              `json:"from"`
	Count      int                `json:"count"`
	At         int64              `json:"at"`
	Group      string             `json:"group"`
}

type answer map[string]any

var brokers = strings.Split(os.Args[1], ",")

func unhex(text *string) ([]byte, error) {
	if text == nil {
		return nil, nil
	}
	bytes, err := hex.DecodeString(*text)
	if bytes == nil {
		bytes = []byte{}
	}
	return bytes, err
}

func tohex(bytes []byte) *string {
	if bytes == nil {
		return nil
	}
	text := hex.EncodeToString(bytes)
	return &text
}

func client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, options...)...)
}

func codec(name string) kgo.CompressionCodec {
	switch name {
	case "gzip":
		return kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	return kgo.NoCompression()
}

func produce(ctx context.Context, c command) (answer, error) {
	cl, err := client(
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codec(c.Codec)),
		kgo.RequiredAcks(kgo.AllISRAcks()), // idempotent unless disabled
	)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var records []*kgo.Record
	for _, r := range c.Records {
		key, err := unhex(r.Key)
		if err != nil {
			return nil, err
		}
		value, err := unhex(r.Value)
		if err != nil {
			return nil, err
		}
		one := &kgo.Record{Topic: c.Topic, Partition: c.Partition, Key: key, Value: value, Timestamp: time.UnixMilli(r.Timestamp)}
		for _, h := range r.Headers {
			value, err := unhex(h[1])
			if err != nil {
				return nil, err
			}
			one.Headers = append(one.Headers, kgo.RecordHeader{Key: *h[0], Value: value})
		}
		records = append(records, one)
	}
	results := cl.ProduceSync(ctx, records...)
	if err := results.FirstErr(); err != nil {
		return nil, err
	}
	offsets := []int64{}
	for _, r := range results {
		offsets = append(offsets, r.Record.Offset)
	}
	return answer{"offsets": offsets}, nil
}

func read(ctx context.Context, c command) (answer, error) {
	at := map[string]map[int32]kgo.Offset{c.Topic: {c.Partition: kgo.NewOffset().At(c.From)}}
	cl, err := client(kgo.ConsumePartitions(at))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	records := []record{}
	for len(records) < c.Count {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			offset := r.Offset
			one := record{Offset: &offset, Timestamp: r.Timestamp.UnixMilli(), Key: tohex(r.Key), Value: tohex(r.Value), Headers: []header{}}
			for _, h := range r.Headers {
				key := h.Key
				one.Headers = append(one.Headers, header{&key, tohex(h.Value)})
			}
			records = append(records, one)
		})
	}
	return answer{"records": records}, nil
}

type member struct {
	cl    *kgo.Client
	lock  sync.Mutex // callbacks come on a goroutine of the client
	parts map[int32]bool
	read  int
	// What was read.
	values []string
}

func (m *member) change(parts []int32, has bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, p := range parts {
		if has {
			m.parts[p] = true
		} else {
			delete(m.parts, p)
		}
	}
}

// has is its partitions, in order.
func (m *member) has() []int32 {
	m.lock.Lock()
	defer m.lock.Unlock()
	parts := []int32{}
	for p := range m.parts {
		parts = append(parts, p)
	}
	sort.Slice(parts, func(i, j int) bool { return parts[i] < parts[j] })
	return parts
}

func join(c command) (*member, error) {
	m := &member{parts: map[int32]bool{}}
	cl, err := client(
		kgo.ConsumerGroup(c.Group), kgo.ConsumeTopics(c.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.SessionTimeout(10*time.Second),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.change(parts[c.Topic], true)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.change(parts[c.Topic], false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.change(parts[c.Topic], false)
		}),
	)
	m.cl = cl
	return m, err
}

func (m *member) poll(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	fetches := m.cl.PollFetches(short)
	m.read += fetches.NumRecords()
	fetches.EachRecord(func(r *kgo.Record) { m.values = append(m.values, string(r.Value)) })
	var failed error
	fetches.EachError(func(_ string, _ int32, err error) {
		if err != context.DeadlineExceeded {
			failed = err
		}
	})
	return failed
}

// group: one member reads everything, shares with a second, and has all again when that one leaves.
func group(ctx context.Context, c command) (answer, error) {
	a, err := join(c)
	if err != nil {
		return nil, err
	}
	defer a.cl.Close()
	for a.read < c.Count || len(a.has()) < c.Partitions {
		if err := a.poll(ctx); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the first member read %d and has %v", a.read, a.has())
		}
	}
	first := a.has()
	if err := a.cl.CommitUncommittedOffsets(ctx); err != nil {
		return nil, err
	}
	b, err := join(c)
	if err != nil {
		return nil, err
	}
	defer b.cl.Close()
	for len(b.has()) == 0 || len(a.has())+len(b.has()) != c.Partitions || len(a.has()) == c.Partitions {
		if err := a.poll(ctx); err != nil {
			return nil, err
		}
		if err := b.poll(ctx); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the members have %v and %v", a.has(), b.has())
		}
	}
	shared := [][]int32{a.has(), b.has()}
	again := b.read
	cl, err := client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	state, members, err := describe(ctx, cl, c.Group)
	if err != nil {
		return nil, err
	}
	b.cl.Close()
	for len(a.has()) < c.Partitions {
		if err := a.poll(ctx); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the remaining member has %v", a.has())
		}
	}
	return answer{"read": a.read, "again": again, "first": first, "shared": shared, "last": a.has(), "state": state, "members": members}, nil
}

// follow reads until there are c.Count different values, and commits what it has after each poll. A commit
// of one who is no member any more is no failure: it joins again, and reads once more what was not committed.
func follow(ctx context.Context, c command) (answer, error) {
	m, err := join(c)
	if err != nil {
		return nil, err
	}
	defer m.cl.Close()
	different := map[string]bool{}
	for len(different) < c.Count {
		before := m.read
		if err := m.poll(ctx); err != nil {
			return nil, err
		}
		for _, value := range m.values[before:] {
			different[value] = true
		}
		if m.read > before {
			err := m.cl.CommitUncommittedOffsets(ctx)
			if err != nil && !errors.Is(err, kerr.IllegalGeneration) && !errors.Is(err, kerr.UnknownMemberID) {
				return nil, err
			}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("it has read %v", m.values)
		}
	}
	return answer{"values": m.values}, nil
}

// drip sends numbers, one each 20 ms.
func drip(ctx context.Context, c command) (answer, error) {
	cl, err := client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	failed := make(chan error, c.Count)
	for n := range c.Count {
		one := &kgo.Record{Topic: c.Topic, Value: []byte(fmt.Sprint(n))}
		cl.Produce(ctx, one, func(_ *kgo.Record, err error) {
			if err != nil {
				failed <- err
			}
		})
		time.Sleep(20 * time.Millisecond)
	}
	if err := cl.Flush(ctx); err != nil {
		return nil, err
	}
	select {
	case err := <-failed:
		return nil, err
	default:
		return answer{}, nil
	}
}

func describe(ctx context.Context, cl *kgo.Client, name string) (string, int, error) {
	described, err := kadm.NewClient(cl).DescribeGroups(ctx, name)
	if err != nil {
		return "", 0, err
	}
	return described[name].State, len(described[name].Members), described[name].Err
}

func alter(ctx context.Context, adm *kadm.Client, c command, whole bool) (answer, error) {
	var configs []kadm.AlterConfig
	for name, value := range c.Configs {
		op := kadm.SetConfig
		if value == nil {
			op = kadm.DeleteConfig
		}
		configs = append(configs, kadm.AlterConfig{Op: op, Name: name, Value: value})
	}
	call := adm.AlterTopicConfigs
	if whole {
		call = adm.AlterTopicConfigsState
	}
	responses, err := call(ctx, configs, c.Topic)
	if err == nil && len(responses) > 0 {
		err = responses[0].Err
	}
	return answer{}, err
}

func serve(c command) (answer, error) {
	patience := 30 * time.Second
	if c.Do == "follow" {
		patience *= 2 // the broker may be away meanwhile
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl, err := client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	switch c.Do {
	case "version":
		info, _ := debug.ReadBuildInfo()
		for _, dep := range info.Deps {
			if dep.Path == "github.com/twmb/franz-go" {
				return answer{"version": dep.Version}, nil
			}
		}
		return answer{"version": "?"}, nil
	case "create":
		_, err := adm.CreateTopic(ctx, int32(c.Partitions), 1, c.Configs, c.Topic)
		return answer{}, err
	case "delete":
		_, err := adm.DeleteTopic(ctx, c.Topic)
		return answer{}, err
	case "topics":
		topics, err := adm.ListTopics(ctx)
		return answer{"topics": topics.Names()}, err
	case "produce":
		return produce(ctx, c)
	case "read":
		return read(ctx, c)
	case "time":
		listed, err := adm.ListOffsetsAfterMilli(ctx, c.At, c.Topic)
		if err != nil {
			return nil, err
		}
		found, _ := listed.Lookup(c.Topic, c.Partition)
		return answer{"offset": found.Offset}, found.Err
	case "group":
		return group(ctx, c)
	case "follow":
		return follow(ctx, c)
	case "drip":
		return drip(ctx, c)
	case "committed":
		fetched, err := adm.FetchOffsets(ctx, c.Group)
		if err != nil {
			return nil, err
		}
		offsets := map[int32]int64{}
		for p, offset := range fetched[c.Topic] {
			offsets[p] = offset.At
		}
		return answer{"offsets": offsets}, nil
	case "groups":
		groups, err := adm.ListGroups(ctx)
		return answer{"groups": groups.Groups()}, err
	case "describe_group":
		state, members, err := describe(ctx, cl, c.Group)
		return answer{"state": state, "members": members}, err
	case "delete_group":
		deleted, err := adm.DeleteGroup(ctx, c.Group)
		if err == nil {
			err = deleted.Err
		}
		return answer{}, err
	case "configs":
		described, err := adm.DescribeTopicConfigs(ctx, c.Topic)
		if err != nil {
			return nil, err
		}
		found, err := described.On(c.Topic, nil)
		if err == nil {
			err = found.Err
		}
		configs := map[string]string{}
		for _, config := range found.Configs {
			configs[config.Key] = config.MaybeValue()
		}
		return answer{"configs": configs}, err
	case "alter":
		return alter(ctx, adm, c, false)
	case "replace":
		return alter(ctx, adm, c, true)
	case "grow":
		grown, err := adm.UpdatePartitions(ctx, c.Partitions, c.Topic)
		if err == nil {
			err = grown.Error()
		}
		return answer{}, err
	case "delete_records":
		var offsets kadm.Offsets
		offsets.AddOffset(c.Topic, c.Partition, c.From, -1)
		deleted, err := adm.DeleteRecords(ctx, offsets)
		if err != nil {
			return nil, err
		}
		one, _ := deleted.Lookup(c.Topic, c.Partition)
		return answer{"low": one.LowWatermark}, one.Err
	case "cluster":
		meta, err := adm.BrokerMetadata(ctx)
		return answer{"id": meta.Cluster, "brokers": len(meta.Brokers)}, err
	case "log_dirs":
		dirs, err := adm.DescribeAllLogDirs(ctx, nil)
		sizes := map[string]int64{}
		dirs.Each(func(dir kadm.DescribedLogDir) {
			dir.Topics.Each(func(p kadm.DescribedLogDirPartition) {
				sizes[fmt.Sprintf("%s-%d", p.Topic, p.Partition)] = p.Size
			})
		})
		return answer{"sizes": sizes}, err
	case "acls":
		builder := kadm.NewACLs().Topics().Groups().Clusters().TransactionalIDs().
			Allow().AllowHosts().Deny().DenyHosts().Operations().ResourcePatternType(kadm.ACLPatternAny)
		results, err := adm.DescribeACLs(ctx, builder)
		for _, result := range results {
			if result.Err != nil {
				return answer{"refused": result.Err.Error() + ": " + result.ErrMessage}, nil
			}
		}
		if err != nil {
			return answer{"refused": err.Error()}, nil
		}
		return nil, fmt.Errorf("there are ACLs: %v", results)
	case "transaction":
		txn, err := client(kgo.TransactionalID("t"), kgo.DefaultProduceTopic(c.Topic))
		if err != nil {
			return nil, err
		}
		defer txn.Close()
		if err := txn.BeginTransaction(); err != nil {
			return answer{"refused": err.Error()}, nil
		}
		err = txn.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr()
		if err == nil || ctx.Err() != nil {
			return nil, fmt.Errorf("the transaction was not refused: %v", err)
		}
		return answer{"refused": err.Error()}, nil
	}
	return nil, fmt.Errorf("no such command: %s", c.Do)
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var c command
		err := json.Unmarshal(in.Bytes(), &c)
		var done answer
		if err == nil {
			done, err = serve(c)
		}
		if err != nil {
			done = answer{"error": err.Error()}
		}
		if err := out.Encode(done); err != nil {
			os.Exit(1)
		}
	}
}
