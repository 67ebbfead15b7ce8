// Calls of rpadmin, Redpanda's own client for the Admin API, one a process: what `rpk transform` does.
//
// Usage: rpadmin ADDRESS[,ADDRESS...] COMMAND [ARGUMENT...]. The answer is JSON on standard output. An
// answer other than 200 ends it with status 3, its status and message as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redpanda-data/common-go/rpadmin"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: rpadmin ADDRESS[,ADDRESS...] COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	// What fails is told at once: the broker is one that has no elections to wait for.
	once := rpadmin.MaxRetries(1)
	client, err := rpadmin.NewClient(strings.Split(os.Args[1], ","), nil, &rpadmin.NopAuth{}, false, once)
	if err != nil {
		fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := call(ctx, client, os.Args[2], os.Args[3:])
	if err != nil {
		fail(err)
	}
	print(answer)
}

// call makes one call; the answer is nil where there is none but success.
func call(ctx context.Context, client *rpadmin.AdminAPI, command string, args []string) (any, error) {
	argument := func(n int) string {
		if n < len(args) {
			return args[n]
		}
		fmt.Fprintf(os.Stderr, "%s needs more arguments\n", command)
		os.Exit(2)
		return ""
	}
	switch command {
	case "deploy": // description as JSON, module
		var transform rpadmin.TransformMetadata
		if err := json.Unmarshal([]byte(argument(0)), &transform); err != nil {
			return nil, err
		}
		module, err := os.Open(argument(1))
		if err != nil {
			return nil, err
		}
		defer module.Close()
		return nil, client.DeployWasmTransform(ctx, transform, module)
	case "list":
		return client.ListWasmTransforms(ctx)
	case "delete":
		return nil, client.DeleteWasmTransform(ctx, argument(0))
	case "pause":
		return nil, client.PauseTransform(ctx, argument(0))
	case "resume":
		return nil, client.ResumeTransform(ctx, argument(0))
	case "compression":
		return nil, client.SetTransformCompressionMode(ctx, argument(0), argument(1))
	case "leader":
		return client.GetLeaderID(ctx)
	case "brokers":
		return client.Brokers(ctx)
	case "health":
		return client.GetHealthOverview(ctx)
	case "uuid":
		return client.ClusterUUID(ctx)
	case "features":
		return client.GetFeatures(ctx)
	case "license":
		return client.GetLicenseInfo(ctx)
	case "enterprise":
		return client.GetEnterpriseFeatures(ctx)
	case "partitions":
		return client.AllClusterPartitions(ctx, false, false)
	case "config":
		return client.Config(ctx, true)
	case "schema":
		return client.ClusterConfigSchema(ctx)
	case "set":
		return client.PatchClusterConfig(ctx, map[string]any{argument(0): argument(1)}, nil)
	case "users": // not served by the local broker
		return client.ListUsers(ctx)
	default:
		return nil, fmt.Errorf("no command %q", command)
	}
}

func print(answer any) {
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err)
	}
}

func fail(err error) {
	var refused *rpadmin.HTTPResponseError
	if errors.As(err, &refused) {
		body, wrong := refused.DecodeGenericErrorBody()
		if wrong != nil {
			fmt.Fprintf(os.Stderr, "%v\nnot JSON as Redpanda's: %v\n", err, wrong)
			os.Exit(1)
		}
		print(map[string]any{
			"status": refused.Response.StatusCode, "code": body.Code, "message": body.Message,
		})
		os.Exit(3)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
