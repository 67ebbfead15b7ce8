module tickpanda/interop/rpadmin

go 1.25

require github.com/redpanda-data/common-go/rpadmin v0.1.9

require (
	github.com/hashicorp/errwrap v1.1.0 // indirect
	github.com/hashicorp/go-multierror v1.1.1 // indirect
	github.com/redpanda-data/common-go/net v0.1.0 // indirect
	github.com/sethgrid/pester v1.2.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap v1.27.0 // indirect
)
