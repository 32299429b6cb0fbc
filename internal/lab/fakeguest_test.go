package lab

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/kdomanski/iso9660"
	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"ionlab/internal/seed"
)

// fakeGuest is what runs in a fakeMachine: a TCP/IP stack on the domain's NICs and an SSH server, with name, keys and
// addresses from the seed, as cloud-init would take them.
type fakeGuest struct {
	machine  *fakeMachine
	identity identity
	stack    *stack.Stack
	wires    []net.Conn
	stopping context.CancelFunc
	loops    sync.WaitGroup

	mu        sync.Mutex
	listeners []*gonet.TCPListener
	conns     map[net.Conn]bool // nil when off
	boot      int
}

// identity is what a guest learns from its seed.
type identity struct {
	instance string
	nonce    string
	hostKey  ssh.Signer
	client   ssh.PublicKey
	addrs    map[string]netip.Prefix // by MAC
}

// readSeed reads the volume as cloud-init does.
func readSeed(path string) (identity, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return identity{}, err
	}
	return readVolume(data)
}

// identity is what the saved guest is known by.
func (s *savedGuest) identity() (identity, error) {
	data, err := base64.StdEncoding.DecodeString(s.Seed)
	if err != nil {
		return identity{}, err
	}
	return readVolume(data)
}

func readVolume(data []byte) (identity, error) {
	volume, err := iso9660.OpenImage(bytes.NewReader(data))
	if err != nil {
		return identity{}, err
	}
	root, err := volume.RootDir()
	if err != nil {
		return identity{}, err
	}
	entries, err := root.GetChildren()
	if err != nil {
		return identity{}, err
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if files[strings.ToLower(entry.Name())], err = io.ReadAll(entry.Reader()); err != nil {
			return identity{}, err
		}
	}
	return parseSeed(files)
}

func parseSeed(files map[string][]byte) (identity, error) {
	var meta struct {
		Instance string `yaml:"instance-id"`
	}
	var user struct {
		HostKeys map[string]string `yaml:"ssh_keys"`
		Clients  []string          `yaml:"ssh_authorized_keys"`
		Files    []struct {
			Path    string `yaml:"path"`
			Content string `yaml:"content"`
		} `yaml:"write_files"`
	}
	var network struct {
		Ethernets map[string]struct {
			Match struct {
				MAC string `yaml:"macaddress"`
			} `yaml:"match"`
			Addresses []string `yaml:"addresses"`
		} `yaml:"ethernets"`
	}
	for name, into := range map[string]any{"meta-data": &meta, "user-data": &user, "network-config": &network} {
		if err := yaml.Unmarshal(bytes.TrimRight(files[name], "\x00"), into); err != nil {
			return identity{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	id := identity{instance: meta.Instance, addrs: map[string]netip.Prefix{}}
	for _, file := range user.Files {
		if file.Path == seed.NoncePath {
			id.nonce = strings.TrimSpace(file.Content)
		}
	}
	var err error
	if id.hostKey, err = ssh.ParsePrivateKey([]byte(user.HostKeys["ed25519_private"])); err != nil {
		return id, err
	}
	if len(user.Clients) != 1 {
		return id, fmt.Errorf("the seed has %d keys for root", len(user.Clients))
	}
	if id.client, _, _, _, err = ssh.ParseAuthorizedKey([]byte(user.Clients[0])); err != nil {
		return id, err
	}
	for _, port := range network.Ethernets {
		id.addrs[port.Match.MAC] = netip.MustParsePrefix(port.Addresses[0])
	}
	return id, nil
}

// bootGuest brings the guest up as far as its plan lets it.
func bootGuest(m *fakeMachine) (*fakeGuest, error) {
	p := m.plan.get()
	if !p.silent && m.saved == nil {
		m.emit("[    0.000000] Linux version 6.1.0 (fake)\r\n[    0.100000] Command line: console=ttyS0\r\n")
	}
	id, err := readSeed(m.seed)
	var boot int
	if m.saved != nil {
		id, err = m.saved.identity()
		boot = m.saved.Boot
	} else {
		boot = m.plan.nextBoot()
	}
	if err != nil {
		return nil, fmt.Errorf("read the seed: %w", err)
	}
	if p.foreignHostKey != nil {
		id.hostKey = p.foreignHostKey
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &fakeGuest{machine: m, identity: id, stopping: cancel, conns: map[net.Conn]bool{}, boot: boot}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	nic := tcpip.NICID(1)
	var routes []tcpip.Route
	for mac, socket := range m.sockets {
		route, err := g.plug(ctx, nic, mac, socket)
		if err != nil {
			g.off()
			return nil, err
		}
		routes = append(routes, route)
		nic++
	}
	g.stack.SetRouteTable(routes)
	if !p.noSSH {
		if err := g.listen(22, g.serveSSH); err != nil {
			g.off()
			return nil, err
		}
	}
	return g, nil
}

// plug connects a NIC to the fabric.
func (g *fakeGuest) plug(ctx context.Context, nic tcpip.NICID, mac, socket string) (tcpip.Route, error) {
	hardware, err := net.ParseMAC(mac)
	if err != nil {
		return tcpip.Route{}, err
	}
	prefix, ok := g.identity.addrs[mac]
	if !ok {
		return tcpip.Route{}, fmt.Errorf("the seed has no address for %s", mac)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return tcpip.Route{}, err
	}
	g.wires = append(g.wires, conn)
	link := channel.New(1024, 1514, tcpip.LinkAddress(hardware))
	if err := g.stack.CreateNIC(nic, ethernet.New(link)); err != nil {
		return tcpip.Route{}, errors.New(err.String())
	}
	addr := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(prefix.Addr().As4()), PrefixLen: prefix.Bits()}
	if err := g.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: addr,
	}, stack.AddressProperties{}); err != nil {
		return tcpip.Route{}, errors.New(err.String())
	}
	g.loops.Go(func() { receive(conn, link) })
	g.loops.Go(func() { transmit(ctx, conn, link) })
	return tcpip.Route{Destination: addr.Subnet(), NIC: nic}, nil
}

// receive takes frames from the fabric as QEMU's stream netdev does: a length of four bytes, then the frame.
func receive(conn net.Conn, link *channel.Endpoint) {
	for {
		var length [4]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
		link.InjectInbound(0, pkt)
		pkt.DecRef()
	}
}

func transmit(ctx context.Context, conn net.Conn, link *channel.Endpoint) {
	for {
		pkt := link.ReadContext(ctx)
		if pkt == nil {
			return
		}
		frame := binary.BigEndian.AppendUint32(nil, uint32(pkt.Size()))
		for _, part := range pkt.AsSlices() {
			frame = append(frame, part...)
		}
		pkt.DecRef()
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}

// listen serves a TCP port on all of the guest's addresses.
func (g *fakeGuest) listen(port uint16, serve func(net.Conn)) error {
	listener, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.listeners = append(g.listeners, listener)
	g.mu.Unlock()
	g.loops.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if g.track(conn) {
				g.loops.Go(func() { defer g.forget(conn); serve(conn) })
			}
		}
	})
	return nil
}

func (g *fakeGuest) track(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		_ = conn.Close()
		return false
	}
	g.conns[conn] = true
	return true
}

func (g *fakeGuest) forget(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
	_ = conn.Close()
}

// restart drops every connection and begins another boot.
func (g *fakeGuest) restart() {
	g.mu.Lock()
	g.boot = g.machine.plan.nextBoot()
	for conn := range g.conns {
		_ = conn.Close()
	}
	g.mu.Unlock()
	g.machine.emit("[    0.000000] Linux version 6.1.0 (fake), again\r\n")
}

// bootID is what /proc/sys/kernel/random/boot_id says.
func (g *fakeGuest) bootID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return fmt.Sprintf("boot-%d-of-%s", g.boot, g.identity.instance)
}

// off pulls the plug. It may be called on nil.
func (g *fakeGuest) off() {
	if g == nil {
		return
	}
	g.stopping()
	g.mu.Lock()
	conns, listeners := g.conns, g.listeners
	g.conns, g.listeners = nil, nil
	g.mu.Unlock()
	for _, wire := range g.wires {
		_ = wire.Close()
	}
	for conn := range conns {
		_ = conn.Close()
	}
	for _, listener := range listeners {
		listener.Shutdown()
		_ = listener.Close()
	}
	g.loops.Wait()
	g.stack.Destroy()
}
