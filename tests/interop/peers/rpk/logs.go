package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const logTopic = "_redpanda.transform_logs"

// What the broker writes for each line that a transform writes.
type logEvent struct {
	Body struct {
		Text string `json:"stringValue"`
	} `json:"body"`
	Nanoseconds uint64 `json:"timeUnixNano"`
	Severity    int    `json:"severityNumber"`
}

// Reads the partition that the transform's name hashes to, until the last record that was there at the
// start. As rpk, it waits for ever where that partition is empty.
func transformLogs(where *location) *cobra.Command {
	var (
		follow bool
		tail   int
		format string
	)
	cmd := &cobra.Command{Use: "logs NAME", Aliases: []string{"log"}, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		client, err := where.kafka()
		if err != nil {
			return fmt.Errorf("unable to create admin client: %v", err)
		}
		defer client.Close()
		admin := kadm.NewClient(client)
		topics, err := admin.ListTopicsWithInternal(cmd.Context(), logTopic)
		if err != nil {
			return fmt.Errorf("unable to get logs topic: %v", err)
		}
		partitions := len(topics[logTopic].Partitions)
		if partitions == 0 {
			return errors.New("unable to find logs topic - is Redpanda on the right version with Data Transforms enabled?")
		}
		record := kgo.KeyStringRecord(args[0], "")
		partition := int32(kgo.StickyKeyPartitioner(nil).ForTopic(logTopic).Partition(record, partitions))
		last := int64(-1)
		if !follow {
			ends, err := admin.ListCommittedOffsets(cmd.Context(), logTopic)
			if err != nil {
				return fmt.Errorf("unable to list offsets: %v", err)
			}
			end, ok := ends.Lookup(logTopic, partition)
			if !ok || end.Err != nil {
				return fmt.Errorf("unable to list offset for partition: %d", partition)
			}
			last = end.Offset - 1
		}
		reader, err := where.kafka(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			logTopic: {partition: kgo.NewOffset().AtStart()},
		}))
		if err != nil {
			return fmt.Errorf("unable to create client: %v", err)
		}
		defer reader.Close()
		lines, err := readLogs(cmd.Context(), reader, args[0], last, follow, tail, format)
		for _, line := range lines {
			fmt.Println(line)
		}
		return err
	}}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "Specify if the logs should be streamed")
	cmd.Flags().IntVar(&tail, "tail", 0, "The number of log entries to fetch from the end")
	cmd.MarkFlagsMutuallyExclusive("tail", "follow")
	cmd.Flags().StringVar(&format, "format", "text", "Output format (json,yaml,text,wide,help)")
	return cmd
}

// The lines, of which the last `tail` where that is more than none; printed at once where it follows.
func readLogs(ctx context.Context, reader *kgo.Client, name string, last int64, follow bool, tail int, format string) ([]string, error) {
	var lines []string
	for {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return lines, err
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			record := iter.Next()
			if string(record.Key) == name {
				line, err := logLine(record.Value, format)
				if err != nil {
					return lines, err
				}
				if follow {
					fmt.Fprintln(os.Stdout, line)
				} else if lines = append(lines, line); tail > 0 && len(lines) > tail {
					lines = lines[1:]
				}
			}
			if !follow && record.Offset >= last {
				return lines, nil
			}
		}
	}
}

func logLine(raw []byte, format string) (string, error) {
	var event logEvent
	if err := json.Unmarshal(raw, &event); err != nil {
		return "", fmt.Errorf("unable to parse log event: %v", err)
	}
	text := strings.TrimSuffix(event.Body.Text, "\n")
	switch format {
	case "text":
		return text, nil
	case "wide":
		level := "INFO"
		if event.Severity > 9 {
			level = "WARN"
		}
		at := time.Unix(0, int64(event.Nanoseconds)).UTC().Format("Jan 02 15:04:05")
		return fmt.Sprintf("%s %s %s", at, level, text), nil
	}
	return "", fmt.Errorf("this stand-in prints text and wide, not %q", format)
}
