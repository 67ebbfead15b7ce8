package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func topicCommand(where *location) *cobra.Command {
	return group("topic", "Create, delete, produce to and consume from Redpanda topics",
		topicList(where), topicCreate(where), topicDescribe(where), topicAlterConfig(where), topicAddPartitions(where))
}

func topicList(where *location) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, RunE: func(_ *cobra.Command, names []string) error {
		client, err := where.kafka()
		if err != nil {
			return fmt.Errorf("unable to initialize kafka client: %v", err)
		}
		defer client.Close()
		listed, err := kadm.NewClient(client).ListTopicsWithInternal(context.Background(), names...)
		if err != nil {
			return fmt.Errorf("unable to request metadata: %v", err)
		}
		printTopics(listed, internal)
		return nil
	}}
	cmd.Flags().BoolVarP(&internal, "internal", "i", false, "Print internal topics")
	return cmd
}

func printTopics(topics kadm.TopicDetails, internal bool) {
	t := newTable(os.Stdout, "name", "partitions", "replicas")
	defer t.Flush()
	for _, topic := range topics.Sorted() {
		if internal || !topic.IsInternal {
			t.row(topic.Topic, len(topic.Partitions), topic.Partitions.NumReplicas())
		}
	}
}

// key=value pairs of a flag that may be repeated.
func pairs(flag string, given []string) (map[string]string, error) {
	all := map[string]string{}
	for _, pair := range given {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("unable to parse %s: %q is not a key=value", flag, pair)
		}
		all[key] = value
	}
	return all, nil
}

func topicCreate(where *location) *cobra.Command {
	var (
		partitions int32
		replicas   int16
		settings   []string
	)
	cmd := &cobra.Command{Use: "create [TOPICS...]", Args: cobra.MinimumNArgs(1), RunE: func(_ *cobra.Command, names []string) error {
		configs, err := pairs("configs", settings)
		if err != nil {
			return err
		}
		client, err := where.kafka()
		if err != nil {
			return fmt.Errorf("unable to initialize kafka client: %v", err)
		}
		defer client.Close()
		request := kmsg.NewPtrCreateTopicsRequest()
		request.TimeoutMillis = 5000
		for _, name := range names {
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, replicas
			for key, value := range configs {
				config := kmsg.NewCreateTopicsRequestTopicConfig()
				config.Name, config.Value = key, kmsg.StringPtr(value)
				topic.Configs = append(topic.Configs, config)
			}
			request.Topics = append(request.Topics, topic)
		}
		response, err := request.RequestWith(context.Background(), client)
		if err != nil {
			return fmt.Errorf("unable to create topics %v: %v", names, err)
		}
		failed := false
		t := newTable(os.Stdout, "topic", "status")
		for _, topic := range response.Topics {
			status := "OK"
			if err := kerr.ErrorForCode(topic.ErrorCode); err != nil {
				failed = true
				switch {
				case errors.Is(err, kerr.InvalidPartitions) && partitions > 0:
					status = fmt.Sprintf("INVALID_PARTITIONS: unable to create topic with %d partitions due to hardware constraints", partitions)
				case errors.Is(err, kerr.InvalidReplicationFactor) && replicas%2 == 0:
					status = "INVALID_REPLICATION_FACTOR: replication factor must be odd"
				default:
					status = err.Error()
				}
			}
			t.row(topic.Topic, status)
		}
		t.Flush()
		if failed {
			os.Exit(1)
		}
		return nil
	}}
	cmd.Flags().StringArrayVarP(&settings, "topic-config", "c", nil, "key=value; Config parameters (repeatable)")
	cmd.Flags().Int32VarP(&partitions, "partitions", "p", -1, "Number of partitions to create per topic")
	cmd.Flags().Int16VarP(&replicas, "replicas", "r", -1, "Replication factor (must be odd)")
	return cmd
}

func topicDescribe(where *location) *cobra.Command {
	var summary, configs, partitions bool
	cmd := &cobra.Command{Use: "describe [TOPICS]", Aliases: []string{"info"}, Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		if !summary && !configs && !partitions {
			summary, configs = true, true
		}
		sections := 0
		for _, asked := range []bool{summary, configs, partitions} {
			if asked {
				sections++
			}
		}
		// Headings only where there is more than one section.
		heading := func(name string) {
			if sections > 1 {
				fmt.Printf("%s\n%s\n", name, strings.Repeat("=", len(name)))
			}
		}
		end := func() {
			if sections > 1 {
				fmt.Println()
			}
		}
		client, err := where.kafka()
		if err != nil {
			return fmt.Errorf("unable to initialize kafka client: %v", err)
		}
		defer client.Close()
		admin := kadm.NewClient(client)
		listed, err := admin.ListTopicsWithInternal(context.Background(), args[0])
		if err != nil {
			return fmt.Errorf("unable to request topic metadata: %v", err)
		}
		topic := listed[args[0]]
		if summary {
			heading("SUMMARY")
			t := newTable(os.Stdout)
			t.row("NAME", args[0])
			t.row("PARTITIONS", len(topic.Partitions))
			if len(topic.Partitions) > 0 {
				t.row("REPLICAS", topic.Partitions.NumReplicas())
			}
			if topic.Err != nil {
				t.row("ERROR", topic.Err)
			}
			t.Flush()
			end()
		}
		if configs {
			heading("CONFIGS")
			described, err := admin.DescribeTopicConfigs(context.Background(), args[0])
			if err != nil {
				return fmt.Errorf("unable to request configs: %v", err)
			}
			if err := described[0].Err; err != nil {
				return fmt.Errorf("config response contained error: %v", err)
			}
			slices.SortFunc(described[0].Configs, func(a, b kadm.Config) int { return strings.Compare(a.Key, b.Key) })
			t := newTable(os.Stdout, "key", "value", "source")
			for _, config := range described[0].Configs {
				t.row(config.Key, config.MaybeValue(), config.Source)
			}
			t.Flush()
			end()
		}
		if partitions {
			heading("PARTITIONS")
			starts, err := admin.ListStartOffsets(context.Background(), args[0])
			if err != nil {
				return err
			}
			ends, err := admin.ListEndOffsets(context.Background(), args[0])
			if err != nil {
				return err
			}
			cell := func(all kadm.ListedOffsets, partition int32) any {
				at, ok := all.Lookup(args[0], partition)
				switch {
				case !ok:
					return "-"
				case at.Err != nil:
					return at.Err
				}
				return at.Offset
			}
			t := newTable(os.Stdout, "partition", "leader", "epoch", "replicas", "log-start-offset", "high-watermark")
			for _, p := range topic.Partitions.Sorted() {
				t.row(p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, cell(starts, p.Partition), cell(ends, p.Partition))
			}
			t.Flush()
			end()
		}
		return nil
	}}
	cmd.Flags().BoolVarP(&summary, "print-summary", "s", false, "Print the summary section")
	cmd.Flags().BoolVarP(&configs, "print-configs", "c", false, "Print the config section")
	cmd.Flags().BoolVarP(&partitions, "print-partitions", "p", false, "Print the detailed partitions section")
	return cmd
}

func topicAlterConfig(where *location) *cobra.Command {
	var sets []string
	cmd := &cobra.Command{Use: "alter-config [TOPICS...] --set key=value --delete key2,key3", Args: cobra.MinimumNArgs(1), RunE: func(_ *cobra.Command, names []string) error {
		wanted, err := pairs("--set", sets)
		if err != nil {
			return err
		}
		if len(wanted) == 0 {
			fmt.Println("No incremental configuration changes were requested!")
			return nil
		}
		client, err := where.kafka()
		if err != nil {
			return fmt.Errorf("unable to initialize kafka client: %v", err)
		}
		defer client.Close()
		request := kmsg.NewPtrIncrementalAlterConfigsRequest()
		for _, name := range names {
			resource := kmsg.NewIncrementalAlterConfigsRequestResource()
			resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
			for key, value := range wanted {
				config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
				config.Name, config.Op, config.Value = key, kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr(value)
				resource.Configs = append(resource.Configs, config)
			}
			request.Resources = append(request.Resources, resource)
		}
		response, err := request.RequestWith(context.Background(), client)
		if err != nil {
			return fmt.Errorf("unable to incrementally update configs: %v", err)
		}
		t := newTable(os.Stdout, "topic", "status")
		defer t.Flush()
		for _, resource := range response.Resources {
			status := "OK"
			if err := kerr.TypedErrorForCode(resource.ErrorCode); err != nil {
				status = err.Message
			}
			t.row(resource.ResourceName, status)
		}
		return nil
	}}
	cmd.Flags().StringArrayVarP(&sets, "set", "s", nil, "key=value; Pair to set (repeatable)")
	return cmd
}

func topicAddPartitions(where *location) *cobra.Command {
	var more int
	cmd := &cobra.Command{Use: "add-partitions [TOPICS...] --num [#]", Args: cobra.MinimumNArgs(1), RunE: func(_ *cobra.Command, names []string) error {
		client, err := where.kafka()
		if err != nil {
			return fmt.Errorf("unable to initialize kafka client: %v", err)
		}
		defer client.Close()
		responses, err := kadm.NewClient(client).CreatePartitions(context.Background(), more, names...)
		if err != nil {
			return fmt.Errorf("create partitions request failed: %v", err)
		}
		failed := false
		t := newTable(os.Stdout, "topic", "status")
		for _, response := range responses.Sorted() {
			status := any("OK")
			if response.Err != nil {
				status, failed = response.Err, true
			}
			t.row(response.Topic, status)
		}
		t.Flush()
		if failed {
			os.Exit(1)
		}
		return nil
	}}
	cmd.Flags().IntVarP(&more, "num", "n", 0, "Number of partitions to add to each topic")
	_ = cmd.MarkFlagRequired("num")
	return cmd
}
