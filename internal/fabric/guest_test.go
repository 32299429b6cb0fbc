package fabric

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const patience = 10 * time.Second // bounds what takes milliseconds

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lan is a network named "lan", 10.20.0.0/24, with nodes a, b, c, ... at .11, .12, .13, ...
func lan(nodes int) NetworkConfig { return subnet("lan", 20, nodes) }

func subnet(name string, third byte, nodes int) NetworkConfig {
	n := NetworkConfig{
		Name: name, Subnet: netip.PrefixFrom(addr4(third, 0), 24),
		Gateway: addr4(third, 1), Control: addr4(third, 2),
	}
	for i := range nodes {
		n.Hosts = append(n.Hosts, Host{
			Node: string(rune('a' + i)), Addr: addr4(third, byte(11+i)),
			MAC: net.HardwareAddr{0x06, 0, 0, third, 0, byte(11 + i)},
		})
	}
	return n
}

func addr4(third, fourth byte) netip.Addr { return netip.AddrFrom4([4]byte{10, third, 0, fourth}) }

// newFabric makes a fabric that the test closes, in a short folder.
func newFabric(t testing.TB, change func(*Config), networks ...NetworkConfig) *Fabric {
	t.Helper()
	g := NewWithT(t)
	cfg := Config{Dir: t.TempDir(), Networks: networks}
	if change != nil {
		change(&cfg)
	}
	f, err := New(cfg)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { NewWithT(t).Expect(f.Close()).To(Succeed()) })
	return f
}

// wire is a guest that sends and receives Ethernet frames as QEMU does.
type wire struct {
	t    testing.TB
	conn net.Conn
	host Host
	link *Link
	// router is the MAC of the router that knows has found.
	router net.HardwareAddr
}

func connect(t testing.TB, f *Fabric, node, network string) *wire {
	t.Helper()
	g := NewWithT(t)
	path, err := f.Socket(node, network)
	g.Expect(err).NotTo(HaveOccurred())
	conn, err := net.Dial("unix", path)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = conn.Close() })
	n, err := f.Network(network)
	g.Expect(err).NotTo(HaveOccurred())
	link, err := n.Link(node)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(link.Connected).WithTimeout(patience).WithPolling(time.Millisecond).Should(BeTrue())
	for _, h := range n.cfg.Hosts {
		if h.Node == node {
			return &wire{t: t, conn: conn, host: h, link: link}
		}
	}
	t.Fatalf("node %s is not on %s", node, network)
	return nil
}

func (w *wire) mac() mac { return macOf(w.host.MAC) }

func (w *wire) send(frames ...[]byte) {
	w.t.Helper()
	for _, f := range frames {
		_, err := w.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(f))), f...))
		NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	}
}

// recv waits for the next frame.
func (w *wire) recv() []byte {
	w.t.Helper()
	frame, err := w.tryRecv(patience)
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred(), "frame for %s", w.host.Node)
	return frame
}

func (w *wire) tryRecv(wait time.Duration) ([]byte, error) {
	_ = w.conn.SetReadDeadline(time.Now().Add(wait))
	return readFrame(w.conn)
}

// silent reports that nothing comes for a moment.
func (w *wire) silent() {
	w.t.Helper()
	frame, err := w.tryRecv(50 * time.Millisecond)
	NewWithT(w.t).Expect(err).To(HaveOccurred(), "unexpected frame % x", frame)
}

func readFrame(r io.Reader) ([]byte, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(prefix[:]))
	_, err := io.ReadFull(r, frame)
	return frame, err
}

// ether makes a frame with a payload to be told by.
func ether(dst, src mac, kind uint16, payload string) []byte {
	b := append(dst.bytes(), src.bytes()...)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, payload...)
}

const testType = 0x88b5 // IEEE: local experimental

// guest is a host with a TCP/IP stack behind a link.
type guest struct {
	host  Host
	stack *stack.Stack
	link  *channel.Endpoint
	conn  net.Conn
	loops sync.WaitGroup
	stop  context.CancelFunc
}

// boot connects a guest whose default route is the network's gateway.
func boot(t testing.TB, f *Fabric, node, network string) *guest {
	t.Helper()
	w := connect(t, f, node, network)
	n, _ := f.Network(network)
	ctx, stop := context.WithCancel(t.Context())
	gu := &guest{host: w.host, stack: newStack(), conn: w.conn, stop: stop}
	gu.link = channel.New(4096, uint32(n.cfg.MTU+headerLen), tcpip.LinkAddress(w.host.MAC))
	eth := ethernet.New(gu.link)
	g := NewWithT(t)
	g.Expect(gu.stack.CreateNIC(nic, eth)).To(BeNil())
	g.Expect(gu.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: addressOf(w.host.Addr), PrefixLen: n.cfg.Subnet.Bits()},
	}, stack.AddressProperties{})).To(BeNil())
	local := tcpip.AddressWithPrefix{Address: addressOf(w.host.Addr), PrefixLen: n.cfg.Subnet.Bits()}
	routes := []tcpip.Route{{Destination: local.Subnet(), NIC: nic}}
	if n.cfg.Gateway.IsValid() {
		routes = append(routes, tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: addressOf(n.cfg.Gateway), NIC: nic})
	}
	gu.stack.SetRouteTable(routes)
	gu.loops.Go(gu.receive)
	gu.loops.Go(func() { gu.transmit(ctx) })
	t.Cleanup(gu.off)
	return gu
}

func (gu *guest) receive() {
	r := newFrameReader(gu.conn, new(framePool))
	defer r.close()
	for {
		batch, err := r.next(nil)
		if err != nil {
			return
		}
		for _, f := range batch {
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(f.bytes())})
			gu.link.InjectInbound(0, pkt)
			pkt.DecRef()
		}
		r.pool.release(batch)
	}
}

func (gu *guest) transmit(ctx context.Context) {
	var b []byte
	for {
		pkt := gu.link.ReadContext(ctx)
		if pkt == nil {
			return
		}
		for ; pkt != nil; pkt = gu.link.Read() {
			b = binary.BigEndian.AppendUint32(b, uint32(pkt.Size()))
			for _, s := range pkt.AsSlices() {
				b = append(b, s...)
			}
			pkt.DecRef()
			if len(b) > 64<<10 {
				break
			}
		}
		if _, err := gu.conn.Write(b); err != nil {
			return
		}
		b = b[:0]
	}
}

// off pulls the plug.
func (gu *guest) off() {
	gu.stop()
	_ = gu.conn.Close()
	gu.loops.Wait()
	gu.stack.Destroy()
}

func (gu *guest) listen(t testing.TB, port uint16) net.Listener {
	t.Helper()
	ln, err := gonet.ListenTCP(gu.stack, fullAddress(netip.AddrPortFrom(gu.host.Addr, port)), ipv4.ProtocolNumber)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = stackListener{ln}.Close() })
	return stackListener{ln}
}

func (gu *guest) dial(ctx context.Context, to string) (net.Conn, error) {
	return gonet.DialContextTCP(ctx, gu.stack, fullAddress(netip.MustParseAddrPort(to)), ipv4.ProtocolNumber)
}

// dialUDP opens a socket to an address of the form host:port.
func (gu *guest) dialUDP(t testing.TB, to string) net.Conn {
	t.Helper()
	remote := fullAddress(netip.MustParseAddrPort(to))
	conn, err := gonet.DialUDP(gu.stack, nil, &remote, ipv4.ProtocolNumber)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// echo answers every connection with what it sends. At the end of the test it closes them: a guest whose network has gone
// does not notice by itself.
func echo(t testing.TB, ln net.Listener) {
	var mu sync.Mutex
	var open []net.Conn
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			all.Go(func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// roundTrip sends text, ends the sending side and expects text back to the end.
func roundTrip(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	g := NewWithT(t)
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err := io.WriteString(conn, text)
	g.Expect(err).NotTo(HaveOccurred())
	half, ok := conn.(halfCloser)
	g.Expect(ok).To(BeTrue(), fmt.Sprintf("%T can close its sending side", conn))
	g.Expect(half.CloseWrite()).To(Succeed())
	back, err := io.ReadAll(conn)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(back)).To(Equal(text))
	g.Expect(conn.Close()).To(Succeed())
}
