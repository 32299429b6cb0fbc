package labtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/image"
	"ionlab/internal/lab"
	"ionlab/internal/topology"
)

// noNodes is a host that boots nothing: a lab on it has networks only.
type noNodes struct{}

var errNoNodes = errors.New("no nodes in this test")

func (noNodes) Image(_ context.Context, req image.Request, _ func(image.Event)) (*image.Image, error) {
	return &image.Image{Name: req.Name, Disk: "/dev/null", Format: "raw"}, nil
}
func (noNodes) Images() []string { return []string{"debian-12"} }

func (noNodes) Accelerator(context.Context, []string) (accel, reason string) { return "tcg", "fake" }

func (noNodes) Hypervisor(context.Context, string, *lab.Account) (lab.Hypervisor, error) {
	return noMachines{}, nil
}
func (noNodes) Overlay(context.Context, string, string, string, int64) error { return errNoNodes }
func (noNodes) Rebase(context.Context, string, string, string) error         { return errNoNodes }
func (noNodes) Flatten(context.Context, string, string, string) error        { return errNoNodes }

type noMachines struct{}

func (noMachines) Create(context.Context, string, string) (lab.Machine, error) {
	return nil, errNoNodes
}

func (noMachines) Restore(context.Context, string, string, string) (lab.Machine, error) {
	return nil, errNoNodes
}
func (noMachines) Version(context.Context) (string, error) { return "fake", nil }
func (noMachines) Close() error                            { return nil }

const site = `metadata: {name: site}
networks:
  - {name: wan, subnet: 10.1.0.0/24, conditions: {latency_ms: 5}}
  - {name: lan, subnet: 10.2.0.0/24}
nodes:
  - {name: alice, memory_mb: 128, networks: [wan, lan]}
  - {name: bob, memory_mb: 128, networks: [wan]}
`

// networksOnly is a lab whose networks stand and whose nodes never come up. The caller closes it.
func networksOnly(root, text string) (*Lab, error) {
	topo, err := topology.Parse(filepath.Join(root, "site.yaml"), []byte(text))
	if err != nil {
		return nil, err
	}
	l, err := assemble(lab.Config{
		Topology: topo, Log: slog.New(slog.DiscardHandler), Host: noNodes{}, SkipMeasuring: true, ColdStart: true,
		Dirs:    lab.Dirs{Run: filepath.Join(root, "r"), State: filepath.Join(root, "s"), Cache: filepath.Join(root, "c")},
		Account: func() (*lab.Account, error) { return nil, nil },
	}, nil)
	if err != nil {
		return nil, err
	}
	if err := l.inner.Start(context.Background()); !errors.Is(err, errNoNodes) {
		return nil, errors.Join(errors.New("the lab did not fail as planned"), err, l.close())
	}
	return l, nil
}

func newNetworks(t testing.TB, text string) *Lab {
	t.Helper()
	root, err := os.MkdirTemp("", "net") // short: it holds sockets
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	l, err := networksOnly(root, text)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		NewWithT(t).Expect(l.close()).To(Succeed())
		_ = os.RemoveAll(root)
	})
	return l
}
