package labtest

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path"
	"path/filepath"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega/gbytes"

	"ionlab/internal/guest"
	"ionlab/internal/lab"
)

// Node is a machine of a lab. It is safe for concurrent use.
//
// Operations return errors; they do not fail the spec. The error of an operation on a machine that died unasked wraps
// gomega's StopTrying and carries the last lines of the console, so that Eventually ends at once.
type Node struct {
	lab     *Lab
	inner   *lab.Node
	console *gbytes.Buffer
}

// Name is the node's name in the topology.
func (n *Node) Name() string { return n.inner.Name() }

// Exec runs a program with exactly these arguments as root and waits for its end. Any exit status is a result; an error
// means that there is none.
func (n *Node) Exec(ctx context.Context, argv ...string) (*Result, error) {
	return n.Run(ctx, Cmd{Argv: argv})
}

// Shell runs a script with the guest's shell as root and waits for its end.
func (n *Node) Shell(ctx context.Context, script string) (*Result, error) {
	return n.Run(ctx, Cmd{Shell: script})
}

// Run runs a command and waits for its end. When ctx ends first, its whole process group in the guest is killed.
func (n *Node) Run(ctx context.Context, cmd Cmd) (*Result, error) {
	g, err := n.inner.Guest()
	if err != nil {
		return nil, hopeless(err)
	}
	n.lab.comment(n.Name() + ": " + cmd.brief())
	res, err := g.Run(ctx, cmd.guest())
	if err != nil {
		return nil, hopeless(err)
	}
	return &Result{res}, nil
}

// Start starts a command and returns while it runs. ctx bounds the start only: the command outlives the spec node that
// started it. End it with DeferCleanup(cmd.Kill); what still runs when the lab ends, ends with it.
func (n *Node) Start(ctx context.Context, cmd Cmd) (*Command, error) {
	g, err := n.inner.Guest()
	if err != nil {
		return nil, hopeless(err)
	}
	c := &Command{Out: gbytes.NewBuffer(), Err: gbytes.NewBuffer(), node: n.Name()}
	gc := cmd.guest()
	gc.Stdout, gc.Stderr = c.Out, c.Err
	n.lab.comment(n.Name() + ": start " + cmd.brief())
	if c.process, err = g.Start(ctx, gc); err != nil {
		return nil, hopeless(err)
	}
	n.lab.wg.Go(func() {
		<-c.process.Done()
		_ = c.Out.Close()
		_ = c.Err.Close()
	})
	return c, nil
}

// Upload copies a file or a tree of the host into the guest, with modes, symbolic links and holes. A dst that is a
// folder takes a file into it; a tree becomes dst. Missing parent folders are made. No half file is ever seen at dst.
func (n *Node) Upload(ctx context.Context, src, dst string) error {
	return n.with(func(g *guest.Client) error { return g.Upload(ctx, src, dst) })
}

// Download copies a file or a tree of the guest to the host, by the rules of Upload.
func (n *Node) Download(ctx context.Context, src, dst string) error {
	return n.with(func(g *guest.Client) error { return g.Download(ctx, src, dst) })
}

// Deploy puts a program of the host into the guest's /usr/local/bin, with mode 0755.
func (n *Node) Deploy(ctx context.Context, src string) error {
	dst := path.Join("/usr/local/bin", filepath.Base(src))
	return n.with(func(g *guest.Client) error {
		return g.Put(ctx, guest.File{Src: src, Dst: dst, Mode: 0o755, Owner: "root"})
	})
}

// WriteFile writes data to a file of the guest, which is replaced as a whole or not at all.
func (n *Node) WriteFile(ctx context.Context, name string, data []byte, mode fs.FileMode) error {
	return n.with(func(g *guest.Client) error { return g.WriteFile(ctx, name, data, mode) })
}

// ReadFile returns the content of a file of the guest.
func (n *Node) ReadFile(ctx context.Context, name string) ([]byte, error) {
	g, err := n.inner.Guest()
	if err != nil {
		return nil, hopeless(err)
	}
	data, err := g.ReadFile(ctx, name)
	return data, hopeless(err)
}

func (n *Node) with(op func(*guest.Client) error) error {
	g, err := n.inner.Guest()
	if err != nil {
		return hopeless(err)
	}
	return hopeless(op(g))
}

// Reboot restarts the guest and waits until it is ready again. That it is another boot is proven by its boot id. Without KVM, that
// boot runs in a QEMU of its own: sessions on its serial console end.
func (n *Node) Reboot(ctx context.Context) error { return hopeless(n.inner.Reboot(ctx)) }

// Shutdown presses the power button and waits until the guest is off.
func (n *Node) Shutdown(ctx context.Context) error { return hopeless(n.inner.Shutdown(ctx)) }

// PowerOff pulls the plug.
func (n *Node) PowerOff(ctx context.Context) error { return hopeless(n.inner.PowerOff(ctx)) }

// PowerOn starts a node that is off or dead, on its own disk, and waits until it is ready.
func (n *Node) PowerOn(ctx context.Context) error { return hopeless(n.inner.PowerOn(ctx)) }

// Pause stops the node's virtual CPUs until Resume.
func (n *Node) Pause(ctx context.Context) error { return hopeless(n.inner.Pause(ctx)) }

// Resume lets a paused node run on.
func (n *Node) Resume(ctx context.Context) error { return hopeless(n.inner.Resume(ctx)) }

// Console is what the node prints on its serial console. It is closed when the lab ends.
func (n *Node) Console() *gbytes.Buffer { return n.console }

// Addr is the node's address on a network. A network that the node is not on fails the spec.
func (n *Node) Addr(network string) netip.Addr {
	ginkgo.GinkgoHelper()
	addr, err := n.inner.Addr(network)
	if err != nil {
		ginkgo.Fail(err.Error())
	}
	return addr
}

// HostAddr is where the topology's ports lead from on the host. A port that is not forwarded fails the spec.
func (n *Node) HostAddr(port uint16) netip.AddrPort {
	ginkgo.GinkgoHelper()
	addr, err := n.inner.HostAddr(port)
	if err != nil {
		ginkgo.Fail(err.Error())
	}
	return addr
}

// Lab is the lab that the node belongs to.
func (n *Node) Lab() *Lab { return n.lab }

// Dial opens a TCP connection from the host to a port of the node, over the control path.
func (n *Node) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	conn, err := n.lab.inner.Dial(ctx, n.Name(), port)
	return conn, hopeless(err)
}

// Status says in words what the node is doing, for example "ready" or "dead: ...".
func (n *Node) Status() string {
	status, _ := n.inner.Status()
	return status
}

// GomegaString is the node's name and status.
func (n *Node) GomegaString() string {
	status, since := n.inner.Status()
	return fmt.Sprintf("<node %s: %s for %s>", n.Name(), status, time.Since(since).Round(time.Second))
}
