package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/redpanda-data/common-go/rpadmin"
	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

func transformCommand(where *location) *cobra.Command {
	return group("transform", "Develop, deploy and manage Redpanda data transforms",
		transformBuild(), transformDeploy(where), transformList(where), transformDelete(where),
		transformSwitch(where, "pause", "Transform paused!", true), transformSwitch(where, "resume", "Transform resumed!", false),
		transformLogs(where))
}

// transform.yaml. The offset to begin from is not read from it: rpk has the field, but not its key.
type project struct {
	Name         string            `yaml:"name"`
	InputTopic   string            `yaml:"input-topic"`
	OutputTopic  string            `yaml:"output-topic"`
	OutputTopics []string          `yaml:"output-topics"`
	Language     string            `yaml:"language"`
	Env          map[string]string `yaml:"env"`
	Compression  string            `yaml:"compression"`
}

// Of the current folder, as everything of rpk's that reads it.
func loadProject() (project, error) {
	var p project
	raw, err := os.ReadFile("transform.yaml")
	if err != nil {
		return p, err
	}
	if err := yaml.Unmarshal(raw, &p); err != nil {
		return p, err
	}
	if len(p.OutputTopics) == 0 && p.OutputTopic != "" {
		p.OutputTopics = []string{p.OutputTopic}
	}
	return p, nil
}

func transformDeploy(where *location) *cobra.Command {
	var (
		file, from string
		given      project
		variables  []string
	)
	cmd := &cobra.Command{Use: "deploy", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		described, err := loadProject()
		if err != nil && given.Name == "" {
			return fmt.Errorf("unable to find %q: %v", "transform.yaml", err)
		}
		env := map[string]string{}
		for key, value := range described.Env {
			env[key] = value
		}
		for _, variable := range variables {
			key, value, _ := strings.Cut(variable, "=")
			if key == "" || value == "" {
				return fmt.Errorf("invalid argument %q for \"--var\" flag: missing key or value", variable)
			}
			env[key] = value
		}
		for _, field := range []struct{ of, by *string }{
			{&described.Name, &given.Name}, {&described.InputTopic, &given.InputTopic}, {&described.Compression, &given.Compression},
		} {
			if *field.by != "" {
				*field.of = *field.by
			}
		}
		if len(given.OutputTopics) > 0 {
			described.OutputTopics = given.OutputTopics
		}
		switch {
		case described.Name == "":
			return errors.New("missing name")
		case described.InputTopic == "" || len(described.OutputTopics) == 0:
			return errors.New("rpk would ask for a topic here, and nobody answers")
		}
		if described.Compression == "" {
			described.Compression = "none"
		}
		if file == "" {
			file = described.Name + ".wasm"
		}
		module, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("missing %q did you run `rpk transform build`", file)
		} else if err != nil {
			return fmt.Errorf("unable to read %q: %v", file, err)
		}
		if !bytes.HasPrefix(module, []byte("\x00asm")) {
			return errors.New("invalid wasm binary")
		}
		offset, err := parseOffset(from)
		if err != nil {
			return err
		}
		metadata := rpadmin.TransformMetadata{
			Name: described.Name, InputTopic: described.InputTopic, OutputTopics: described.OutputTopics,
			CompressionMode: described.Compression, FromOffset: offset,
		}
		for key, value := range env {
			metadata.Environment = append(metadata.Environment, rpadmin.EnvironmentVariable{Key: key, Value: value})
		}
		client, err := where.admin()
		if err != nil {
			return fmt.Errorf("unable to initialize admin api client: %v", err)
		}
		if err := client.DeployWasmTransform(cmd.Context(), metadata, bytes.NewReader(module)); err != nil {
			var response *rpadmin.HTTPResponseError
			if errors.As(err, &response) && response.Response.StatusCode == 400 {
				if body, err := response.DecodeGenericErrorBody(); err == nil {
					return fmt.Errorf("unable to deploy transform %s: %s", metadata.Name, body.Message)
				}
			}
			return fmt.Errorf("unable to deploy transform %s: %v", metadata.Name, err)
		}
		fmt.Printf("transform %q deployed.\n", metadata.Name)
		return nil
	}}
	cmd.Flags().StringVar(&file, "file", "", "The WebAssembly module to deploy")
	cmd.Flags().StringVarP(&given.InputTopic, "input-topic", "i", "", "The input topic to apply the transform to")
	cmd.Flags().StringSliceVarP(&given.OutputTopics, "output-topic", "o", nil, "The output topic to write the transform results to (repeatable)")
	cmd.Flags().StringVar(&given.Name, "name", "", "The name of the transform")
	cmd.Flags().StringArrayVar(&variables, "var", nil, "Specify an environment variable in the form of KEY=VALUE")
	cmd.Flags().StringVar(&given.Compression, "compression", "", "Output batch compression type")
	cmd.Flags().StringVar(&from, "from-offset", "", "Process an input topic partition from a relative offset")
	return cmd
}

func parseOffset(text string) (*rpadmin.Offset, error) {
	if text == "" {
		return nil, nil
	}
	format, ok := map[byte]string{'@': "timestamp", '+': "from_start", '-': "from_end"}[text[0]]
	if !ok {
		return nil, fmt.Errorf("bad prefix: expected one of ['@','+','-'], got: %q", text[:1])
	}
	value, err := strconv.ParseInt(text[1:], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("bad offset: parse error '%v'", err)
	}
	return &rpadmin.Offset{Format: format, Value: value}, nil
}

// In this order of fields, because that is the order in which they are printed.
type listed struct {
	Name         string                             `json:"name"`
	InputTopic   string                             `json:"input_topic"`
	OutputTopics []string                           `json:"output_topics"`
	Environment  map[string]string                  `json:"environment"`
	Status       []rpadmin.PartitionTransformStatus `json:"status"`
	Compression  string                             `json:"compression"`
}

func transformList(where *location) *cobra.Command {
	var (
		detailed bool
		format   string
	)
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		client, err := where.admin()
		if err != nil {
			return fmt.Errorf("unable to initialize admin api client: %v", err)
		}
		transforms, err := client.ListWasmTransforms(cmd.Context())
		if err != nil {
			return fmt.Errorf("unable to list transforms: %v", err)
		}
		switch {
		case format == "json" && detailed:
			all := make([]listed, 0, len(transforms))
			for _, t := range transforms {
				env := map[string]string{}
				for _, variable := range t.Environment {
					env[variable.Key] = variable.Value
				}
				all = append(all, listed{t.Name, t.InputTopic, t.OutputTopics, env, t.Status, t.CompressionMode})
			}
			raw, err := json.Marshal(all)
			fmt.Printf("%s\n", raw)
			return err
		case format != "text":
			return fmt.Errorf("this stand-in prints text, and json with --detailed, not %q", format)
		case detailed:
			t := newTable(os.Stdout)
			defer t.Flush()
			for i, transform := range transforms {
				if i > 0 {
					t.row()
				}
				t.row(fmt.Sprintf("%s, %s → %s", transform.Name, transform.InputTopic, strings.Join(transform.OutputTopics, ", ")))
				t.row("", "PARTITION", "NODE", "STATUS", "LAG")
				for _, p := range transform.Status {
					t.row("", p.Partition, p.NodeID, p.Status, p.Lag)
				}
			}
		default:
			t := newTable(os.Stdout, "Name", "Input Topic", "Output Topic", "Running", "Lag")
			defer t.Flush()
			for _, transform := range transforms {
				running, lag := 0, 0
				for _, p := range transform.Status {
					if strings.EqualFold(p.Status, "running") {
						running++
					}
					lag += p.Lag
				}
				t.row(transform.Name, transform.InputTopic, strings.Join(transform.OutputTopics, ", "), fmt.Sprintf("%d / %d", running, len(transform.Status)), lag)
			}
		}
		return nil
	}}
	cmd.Flags().BoolVarP(&detailed, "detailed", "d", false, "Print per-partition information for data transforms")
	cmd.Flags().StringVar(&format, "format", "text", "Output format (json,yaml,text,wide,help)")
	return cmd
}

func transformDelete(where *location) *cobra.Command {
	var noConfirm bool
	cmd := &cobra.Command{Use: "delete [NAME]", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if !noConfirm {
			return errors.New("unable to confirm deletion: EOF") // nobody is there to ask
		}
		client, err := where.admin()
		if err != nil {
			return fmt.Errorf("unable to initialize admin api client: %v", err)
		}
		if err := client.DeleteWasmTransform(cmd.Context(), args[0]); err != nil {
			return fmt.Errorf("unable to delete transform %q: %v", args[0], err)
		}
		fmt.Println("Delete successful!")
		return nil
	}}
	cmd.Flags().BoolVar(&noConfirm, "no-confirm", false, "Disable confirmation prompt")
	return cmd
}

func transformSwitch(where *location, verb, done string, pause bool) *cobra.Command {
	return &cobra.Command{Use: verb + " [NAME]", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		client, err := where.admin()
		if err != nil {
			return fmt.Errorf("unable to initialize admin api client: %v", err)
		}
		if pause {
			err = client.PauseTransform(cmd.Context(), args[0])
		} else {
			err = client.ResumeTransform(cmd.Context(), args[0])
		}
		if err != nil {
			return fmt.Errorf("unable to %s transform %q: %v", verb, args[0], err)
		}
		fmt.Println(done)
		return nil
	}}
}
