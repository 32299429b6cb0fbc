package rustdesk_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
	"ionlab/fixtures/rustdesk/server"
	"ionlab/labtest"
)

// password is the hosts' permanent one. Nothing else in a guest contains it.
const password = "seven-Green-Herons-4417"

// world is a lab with a host, a client and a server.
type world struct {
	lab                  *labtest.Lab
	desk, client, server *labtest.Node
	host                 *rustdesk.Host
	probe                *rustdesk.Client
	hbbs                 *rustdesk.Server
	to                   rustdesk.Settings
	id, echo             string
}

// startLab starts a lab of a topology of this suite.
func startLab(ctx context.Context, name string, opts ...labtest.Option) *labtest.Lab {
	GinkgoHelper()
	file, err := kit.Topology("../../topologies/"+name+".yaml", kitDir)
	Expect(err).NotTo(HaveOccurred())
	return labtest.Start(ctx, file, opts...)
}

// setUp is what is done to a lab of this suite once; later runs with the same packages begin with a snapshot of that.
func setUp(do func(ctx context.Context, l *labtest.Lab) error, key string) labtest.Option {
	return labtest.WithSetup(labtest.Setup{Do: do, Files: append(kit.Files(), "../../fixtures/rustdesk"), Key: key})
}

// start starts a lab with everything in its guests, and with the host registered with the server at addr.
func (w *world) start(ctx context.Context, topology, addr string) {
	GinkgoHelper()
	w.lab = startLab(ctx, topology, setUp(func(ctx context.Context, l *labtest.Lab) error { return furnish(ctx, l, addr) }, addr))
	w.desk, w.client, w.server = w.lab.Node("desk"), w.lab.Node("client"), w.lab.Node("server")
	w.host, w.probe, w.echo = kit.HostOn(w.desk), rustdesk.ClientOn(w.client), rustdesk.EchoAddress
	var err error
	w.hbbs, err = kit.ServerOn(ctx, w.server, rustdesk.ServerOptions{})
	Expect(err).NotTo(HaveOccurred())
	w.to = w.hbbs.Settings(addr)
	w.online(ctx)
	w.id, err = w.host.ID(ctx)
	Expect(err).NotTo(HaveOccurred())
	report("id", w.id)
}

// furnish puts everything into the guests of a lab and has the host register with the server at addr.
func furnish(ctx context.Context, l *labtest.Lab, addr string) error {
	var host *rustdesk.Host
	var hbbs *rustdesk.Server
	err := together(
		func() (err error) { host, err = kit.Install(ctx, l.Node("desk")); return err },
		func() error { _, err := kit.Client(ctx, l.Node("client")); return err },
		func() (err error) {
			hbbs, err = kit.StartServer(ctx, l.Node("server"), rustdesk.ServerOptions{})
			return err
		},
	)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		host.WaitServer,
		func(ctx context.Context) error { return host.SetPassword(ctx, password) },
		func(ctx context.Context) error { return host.UseServer(ctx, hbbs.Settings(addr)) },
		func(ctx context.Context) error { return online(ctx, host) },
		host.ServeEcho,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func together(parts ...func() error) error {
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() { errs[i] = part() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// online waits until the host says that it is registered.
func (w *world) online(ctx context.Context) {
	GinkgoHelper()
	Expect(online(ctx, w.host)).To(Succeed())
}

func online(ctx context.Context, host *rustdesk.Host) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	return host.WaitOnline(ctx)
}

// listed asks the server whether it lists the host as online.
func (w *world) listed(ctx context.Context) (bool, error) { return w.probe.Online(ctx, w.to, w.id) }

// connect opens a session; what c leaves open is the host's id, the server and the right password.
func (w *world) connect(ctx context.Context, c rustdesk.Connection) *rustdesk.Session {
	GinkgoHelper()
	if c.ID == "" && c.Address == "" {
		c.ID = w.id
	}
	if c.Settings == (rustdesk.Settings{}) && c.Address == "" {
		c.Settings = w.to
	}
	if c.Password == "" {
		c.Password = password
	}
	s, err := w.probe.Connect(ctx, c)
	Expect(err).NotTo(HaveOccurred())
	return s
}

// since returns the events of the server that are not before began.
func (w *world) since(ctx context.Context, began time.Time, names ...string) []server.Event {
	GinkgoHelper()
	all, err := w.hbbs.Events(ctx, names...)
	Expect(err).NotTo(HaveOccurred())
	var some []server.Event
	for _, e := range all {
		if !e.Time.Before(began) {
			some = append(some, e)
		}
	}
	return some
}

// clock reads the clock of a node: events carry that of the server, whose clock is not this machine's.
func clock(ctx context.Context, n *labtest.Node) time.Time {
	GinkgoHelper()
	at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(output(ctx, n, "date", "-u", "+%Y-%m-%dT%H:%M:%S.%NZ")))
	Expect(err).NotTo(HaveOccurred())
	return at
}

// output runs a command that has to succeed.
func output(ctx context.Context, n *labtest.Node, argv ...string) string {
	GinkgoHelper()
	res, err := n.Exec(ctx, argv...)
	Expect(err).NotTo(HaveOccurred())
	Expect(res.ExitCode()).To(BeZero(), res.Stderr())
	return res.Stdout()
}
