// A stand-in for rpk, Redpanda's command-line tool, which no package registry has.
//
// It knows exactly the commands and flags that tickpanda's scripts and containers use, by rpk's own names,
// prints what rpk prints, and speaks through the clients that rpk speaks through: rpadmin to the Admin API,
// franz-go to Kafka. Anything else is an error, as it is in rpk: a script that runs with this uses nothing
// that rpk does not have. What rpk does was read in its source; nothing of it is copied.
//
//	main.go       commands and settings that all share
//	config.go     where the cluster is: variables, -X, profiles
//	topic.go      rpk topic …
//	transform.go  rpk transform …
//	build.go      rpk transform build
//	logs.go       rpk transform logs
//	cluster.go    rpk cluster …
//	out.go        tables
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	var where location
	root := &cobra.Command{
		Use:           "rpk",
		Short:         "A stand-in for rpk, for tickpanda's tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringArrayVarP(&where.options, "config-opt", "X", nil, "Override rpk configuration settings")
	root.PersistentFlags().StringVar(&where.profile, "profile", "", "rpk profile to use")
	root.AddCommand(topicCommand(&where), transformCommand(&where), clusterCommand(&where), profileCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A command that only has others below it: a word it does not know is an error, not help.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	cmd.AddCommand(commands...)
	return cmd
}
