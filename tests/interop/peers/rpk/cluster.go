package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/redpanda-data/common-go/rpadmin"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func clusterCommand(where *location) *cobra.Command {
	return group("cluster", "Interact with a Redpanda cluster", clusterHealth(where), clusterInfo(where))
}

// Without --watch it says once what it is, and succeeds either way.
func clusterHealth(where *location) *cobra.Command {
	var watch, exit bool
	cmd := &cobra.Command{Use: "health", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		client, err := where.admin()
		if err != nil {
			return fmt.Errorf("unable to initialize admin client: %v", err)
		}
		var last rpadmin.ClusterHealthOverview
		for {
			now, err := client.GetHealthOverview(cmd.Context())
			if err != nil {
				return fmt.Errorf("unable to request cluster health: %v", err)
			}
			if !reflect.DeepEqual(now, last) {
				printHealth(now)
			}
			last = now
			if !watch || exit && now.IsHealthy {
				return nil
			}
			time.Sleep(2 * time.Second)
		}
	}}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "Blocks and writes out all cluster health changes")
	cmd.Flags().BoolVarP(&exit, "exit-when-healthy", "e", false, "When used with watch, exits after cluster is back in healthy state")
	return cmd
}

func printHealth(health rpadmin.ClusterHealthOverview) {
	slices.Sort(health.AllNodes)
	fmt.Println("CLUSTER HEALTH OVERVIEW\n=======================")
	for _, line := range [][2]any{
		{"Healthy", health.IsHealthy},
		{"Unhealthy reasons", health.UnhealthyReasons},
		{"Controller ID", health.ControllerID},
		{"All nodes", health.AllNodes},
		{"Nodes down", health.NodesDown},
		{"Leaderless partitions", health.LeaderlessPartitions},
		{"Under-replicated partitions", health.UnderReplicatedPartitions},
	} {
		fmt.Printf("%-28s %v\n", line[0].(string)+":", line[1])
	}
}

func clusterInfo(where *location) *cobra.Command {
	var cluster, brokers, topics bool
	cmd := &cobra.Command{Use: "metadata", Aliases: []string{"status", "info"}, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		internal := false
		if !cluster && !brokers && !topics {
			cluster, brokers, topics, internal = true, true, true, true
		}
		sections := 0
		for _, asked := range []bool{cluster, brokers, topics} {
			if asked {
				sections++
			}
		}
		section := func(name string, print func()) {
			if sections > 1 {
				fmt.Printf("%s\n%s\n", name, strings.Repeat("=", len(name)))
				defer fmt.Println()
			}
			print()
		}
		client, err := where.kafka()
		if err != nil {
			return fmt.Errorf("unable to initialize kafka client: %v", err)
		}
		defer client.Close()
		metadata, err := kadm.NewClient(client).Metadata(context.Background())
		if err != nil {
			return fmt.Errorf("unable to request metadata: %v", err)
		}
		if cluster && metadata.Cluster != "" {
			section("CLUSTER", func() { fmt.Println(metadata.Cluster) })
		}
		if brokers {
			section("BROKERS", func() {
				t := newTable(os.Stdout, "id", "host", "port")
				defer t.Flush()
				for _, broker := range metadata.Brokers {
					id := fmt.Sprint(broker.NodeID)
					if broker.NodeID == metadata.Controller {
						id += "*"
					}
					t.row(id, broker.Host, broker.Port)
				}
			})
		}
		if topics && len(metadata.Topics) > 0 {
			section("TOPICS", func() { printTopics(metadata.Topics, internal) })
		}
		return nil
	}}
	cmd.Flags().BoolVarP(&cluster, "print-cluster", "c", false, "Print cluster section")
	cmd.Flags().BoolVarP(&brokers, "print-brokers", "b", false, "Print brokers section")
	cmd.Flags().BoolVarP(&topics, "print-topics", "t", false, "Print topics section")
	return cmd
}
