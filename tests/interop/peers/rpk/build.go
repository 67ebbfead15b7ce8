package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/spf13/cobra"
)

// The triple since rpk 24.3.9 and 25.1; Rust no longer has the earlier name of it, wasm32-wasi.
const wasmTarget = "wasm32-wasip1"

// For Rust only: asks cargo where it builds, builds, and moves the module that is named after the
// transform beside transform.yaml.
func transformBuild() *cobra.Command {
	return &cobra.Command{Use: "build", RunE: func(_ *cobra.Command, more []string) error {
		described, err := loadProject()
		if err != nil {
			return fmt.Errorf("unable to find the transform, are you in the same directory as the %q? %v", "transform.yaml", err)
		}
		if !strings.EqualFold(described.Language, "rust") {
			return fmt.Errorf("this stand-in builds Rust, not %q", described.Language)
		}
		raw, err := exec.Command("cargo", "metadata", "--format-version=1").Output()
		if err != nil {
			return fmt.Errorf("unable to query cargo metadata: %v", err)
		}
		var metadata struct {
			Target string `json:"target_directory"`
		}
		if err := json.Unmarshal(raw, &metadata); err != nil {
			return fmt.Errorf("unable to query cargo metadata: %v", err)
		}
		build := exec.Command("cargo", append([]string{"build", "--release", "--target=" + wasmTarget}, more...)...)
		build.Stdin, build.Stdout, build.Stderr = os.Stdin, os.Stdout, os.Stderr
		build.Env = append(os.Environ(), "RUSTFLAGS=-Ctarget-feature=+simd128")
		if err := build.Run(); err != nil {
			return fmt.Errorf("build failed %v", err)
		}
		file := described.Name + ".wasm"
		if err := os.Rename(path.Join(metadata.Target, wasmTarget, "release", file), file); err != nil {
			return fmt.Errorf("unable to move build artifact: %v", err)
		}
		return nil
	}}
}
