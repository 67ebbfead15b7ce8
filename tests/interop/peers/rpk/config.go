package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redpanda-data/common-go/rpadmin"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"gopkg.in/yaml.v3"
)

// Where the cluster is. Flags win over variables, variables over the profile, that over the default.
type location struct {
	options []string
	profile string
}

// A profile's keys, of those that rpk has, which tickpanda's profile uses. Others are refused here, so
// that a key that rpk would silently ignore is noticed.
type profile struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description,omitempty"`
	KafkaAPI    struct {
		Brokers []string `yaml:"brokers,omitempty"`
	} `yaml:"kafka_api,omitempty"`
	AdminAPI struct {
		Addresses []string `yaml:"addresses,omitempty"`
	} `yaml:"admin_api,omitempty"`
}

// rpk.yaml, in version 7 of its form.
type rpkYaml struct {
	Version        int       `yaml:"version"`
	CurrentProfile string    `yaml:"current_profile"`
	Profiles       []profile `yaml:"profiles"`
}

func rpkYamlPath() (string, error) {
	folder, err := os.UserConfigDir()
	return filepath.Join(folder, "rpk", "rpk.yaml"), err
}

func loadRpkYaml() (rpkYaml, error) {
	kept := rpkYaml{Version: 7}
	path, err := rpkYamlPath()
	if err != nil {
		return kept, nil // no home: no profiles
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return kept, nil
	} else if err != nil {
		return kept, err
	}
	return kept, strict(raw, &kept)
}

func strict(raw []byte, into any) error {
	decoder := yaml.NewDecoder(strings.NewReader(string(raw)))
	decoder.KnownFields(true)
	return decoder.Decode(into)
}

// Lists of addresses for one of rpk's -X names and its variable.
func (w *location) addresses(option, variable string, ofProfile func(profile) []string, otherwise string) ([]string, error) {
	for _, given := range w.options {
		key, value, ok := strings.Cut(given, "=")
		if !ok {
			return nil, fmt.Errorf("invalid config: %q is not a key=value", given)
		}
		if key != "brokers" && key != "admin.hosts" {
			return nil, fmt.Errorf("this stand-in knows brokers and admin.hosts, not %q", key)
		}
		if key == option {
			return strings.Split(value, ","), nil
		}
	}
	if value := os.Getenv(variable); value != "" {
		return strings.Split(value, ","), nil
	}
	kept, err := loadRpkYaml()
	if err != nil {
		return nil, fmt.Errorf("rpk unable to load config: %v", err)
	}
	name := w.profile
	if name == "" {
		name = os.Getenv("RPK_PROFILE")
	}
	asked := name != ""
	if !asked {
		name = kept.CurrentProfile
	}
	for _, p := range kept.Profiles {
		if p.Name == name {
			if list := ofProfile(p); len(list) > 0 {
				return list, nil
			}
			asked = false
		}
	}
	if asked {
		return nil, fmt.Errorf("rpk unable to load config: selected profile %q does not exist", name)
	}
	return []string{otherwise}, nil
}

func (w *location) kafka(options ...kgo.Opt) (*kgo.Client, error) {
	seeds, err := w.addresses("brokers", "RPK_BROKERS", func(p profile) []string { return p.KafkaAPI.Brokers }, "127.0.0.1:9092")
	if err != nil {
		return nil, err
	}
	options = append(options, kgo.SeedBrokers(seeds...), kgo.ClientID("rpk"), kgo.RetryTimeout(11*time.Second))
	return kgo.NewClient(options...)
}

func (w *location) admin() (*rpadmin.AdminAPI, error) {
	hosts, err := w.addresses("admin.hosts", "RPK_ADMIN_HOSTS", func(p profile) []string { return p.AdminAPI.Addresses }, "127.0.0.1:9644")
	if err != nil {
		return nil, err
	}
	return rpadmin.NewClient(hosts, nil, new(rpadmin.NopAuth), false)
}

// rpk profile create NAME --from-profile FILE, and rpk profile current.
func profileCommand() *cobra.Command {
	var from, description string
	create := &cobra.Command{Use: "create [NAME]", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		kept, err := loadRpkYaml()
		if err != nil {
			return err
		}
		for _, p := range kept.Profiles {
			if p.Name == args[0] {
				return fmt.Errorf("Unable to automatically create profile %q due to a name conflict", args[0])
			}
		}
		var made profile
		if from != "" {
			raw, err := os.ReadFile(from)
			if err != nil {
				return fmt.Errorf("unable to read file %q: %v", from, err)
			}
			if err := strict(raw, &made); err != nil {
				return fmt.Errorf("unable to yaml decode file %q: %v", from, err)
			}
		}
		made.Name = args[0]
		if description != "" {
			made.Description = description
		}
		kept.Profiles = append([]profile{made}, kept.Profiles...)
		kept.CurrentProfile = made.Name
		raw, err := yaml.Marshal(kept)
		if err != nil {
			return err
		}
		path, err := rpkYamlPath()
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			return fmt.Errorf("unable to write rpk file: %v", err)
		}
		fmt.Printf("Created and switched to new profile %q.\n", made.Name)
		return nil
	}}
	create.Flags().StringVar(&from, "from-profile", "", "Create and switch to a new profile from an existing profile or from a profile in a yaml file")
	create.Flags().StringVarP(&description, "description", "d", "", "Optional description of the profile")
	current := &cobra.Command{Use: "current", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		kept, err := loadRpkYaml()
		if err == nil {
			fmt.Println(kept.CurrentProfile)
		}
		return err
	}}
	return group("profile", "Manage rpk profiles", create, current)
}
