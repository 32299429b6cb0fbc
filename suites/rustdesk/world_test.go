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
func startLab(ctx context.Context, name string) *labtest.Lab {
	GinkgoHelper()
	file, err := kit.Topology("../../topologies/"+name+".yaml", kitDir)
	Expect(err).NotTo(HaveOccurred())
	return labtest.Start(ctx, file)
}

// start starts a lab, puts everything into its guests and has the host registered with the server at addr.
func (w *world) start(ctx context.Context, topology, addr string) {
	GinkgoHelper()
	w.lab = startLab(ctx, topology)
	w.desk, w.client, w.server = w.lab.Node("desk"), w.lab.Node("client"), w.lab.Node("server")
	Expect(together(
		func() (err error) { w.host, err = kit.Install(ctx, w.desk); return err },
		func() (err error) { w.probe, err = kit.Client(ctx, w.client); return err },
		func() (err error) {
			w.hbbs, err = kit.StartServer(ctx, w.server, rustdesk.ServerOptions{})
			return err
		},
	)).To(Succeed())
	w.to = w.hbbs.Settings(addr)
	Expect(w.host.WaitServer(ctx)).To(Succeed())
	Expect(w.host.SetPassword(ctx, password)).To(Succeed())
	Expect(w.host.UseServer(ctx, w.to)).To(Succeed())
	w.online(ctx)
	var err error
	w.id, err = w.host.ID(ctx)
	Expect(err).NotTo(HaveOccurred())
	w.echo, err = w.host.ServeEcho(ctx)
	Expect(err).NotTo(HaveOccurred())
	report("id", w.id)
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
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	Expect(w.host.WaitOnline(ctx)).To(Succeed())
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
