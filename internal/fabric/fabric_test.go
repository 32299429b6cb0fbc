package fabric

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

func TestCloseLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	network := lan(2)
	network.Internet = true
	f := newFabric(t, func(c *Config) { c.Dir, c.Dialer = dir, &net.Dialer{} }, network, subnet("wan", 30, 2))
	a := boot(t, f, "a", "lan")
	echo(t, a.listen(t, 22))
	conn, err := f.Dial(within(t), "a", 22)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = conn.Close() }()
	w, err := f.Forward(within(t), anyPort, "a", 22, "tcp")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.Forward(within(t), anyPort, "a", 22, "udp")
	g.Expect(err).NotTo(HaveOccurred())
	forwarded, err := net.Dial("tcp", w.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = forwarded.Close() }()
	g.Expect(os.ReadDir(dir)).To(HaveLen(4))

	g.Expect(f.Close()).To(Succeed())
	g.Expect(os.ReadDir(dir)).To(BeEmpty())
	_, err = conn.Read(make([]byte, 1))
	g.Expect(err).To(HaveOccurred(), "open connections end")
	_, err = forwarded.Read(make([]byte, 1))
	g.Expect(err).To(HaveOccurred())
	g.Expect(f.Close()).To(Succeed())
	_, err = f.Forward(within(t), anyPort, "a", 22, "tcp")
	g.Expect(err).To(MatchError(ContainSubstring("the fabric is closed")))
	_, err = f.Dial(within(t), "a", 22)
	g.Expect(err).To(MatchError(ErrNotConnected))
	var none *Fabric
	g.Expect(none.Close()).To(Succeed())
}

func TestSocketsAreGivenToTheirOwner(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "s")
	const nobody = 65534
	newFabric(t, func(c *Config) { c.Dir, c.Owner = dir, &Owner{UID: nobody, GID: nobody} }, lan(1))
	want := uint32(os.Geteuid())
	if want == 0 {
		want = nobody // Only root can give something away.
	}
	for _, path := range []string{dir, filepath.Join(dir, "l0.sock")} {
		info, err := os.Stat(path)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Sys().(*syscall.Stat_t).Uid).To(Equal(want), path)
	}
}

func TestNewLeavesNothingOnError(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	taken := filepath.Join(dir, "l3.sock")
	g.Expect(os.WriteFile(taken, nil, 0o600)).To(Succeed())
	_, err := New(Config{Dir: dir, Networks: []NetworkConfig{lan(2), subnet("wan", 30, 2)}})
	g.Expect(err).To(MatchError(And(
		ContainSubstring(`build the fabric: network "wan": listen for node "b" on network "wan"`), ContainSubstring("address already in use"))))
	g.Expect(os.ReadDir(dir)).To(HaveLen(1))

	_, err = New(Config{Dir: filepath.Join(dir, strings.Repeat("d", 100)), Networks: []NetworkConfig{lan(1)}})
	g.Expect(err).To(MatchError(ContainSubstring("choose a shorter folder")))
	_, err = New(Config{Dir: filepath.Join(dir, "no", "parent"), Networks: []NetworkConfig{lan(1)}})
	g.Expect(err).To(MatchError(ContainSubstring("make the folder for sockets: mkdir")))
}

func TestNewReportsEverythingThatIsWrong(t *testing.T) {
	g := NewWithT(t)
	bad := lan(3)
	bad.MTU = 20
	bad.Control = bad.Gateway
	bad.Hosts[0].Addr = addr4(99, 1)
	bad.Hosts[1].MAC = bad.Hosts[0].MAC
	bad.Hosts[2].MAC = net.HardwareAddr{1, 2, 3, 4, 5, 6}
	overlapping := lan(1)
	overlapping.Name = "other"
	overlapping.Internet = true
	v6 := NetworkConfig{Name: "v6", Subnet: netip.MustParsePrefix("fd00::/64")}
	twice := subnet("v6", 50, 2)
	twice.Hosts[1].Node = "a"
	_, err := New(Config{Networks: []NetworkConfig{bad, overlapping, v6, twice}})
	for _, message := range []string{
		"fabric: Dir is empty, want a folder for the sockets",
		`network "lan": MTU 20, want 68 to 65535`,
		`network "lan": the control endpoint and the gateway share address 10.20.0.1`,
		`network "lan": node "a" has address 10.99.0.1, which is not in 10.20.0.0/24`,
		`network "lan": node "a" and node "b" share MAC 06:00:00:14:00:0b`,
		`network "lan": node "c" has MAC "01:02:03:04:05:06", want six bytes of a unicast address`,
		`network "other": subnet 10.20.0.0/24 overlaps 10.20.0.0/24 of network "lan"`,
		`network "other": internet needs a Dialer`,
		`network "v6": subnet fd00::/64 is not IPv4`,
		`network "v6": named twice`,
		`network "v6": node "a" is on it twice`,
	} {
		g.Expect(err).To(MatchError(ContainSubstring(message)))
	}
}

func TestLookupsNameWhatThereIs(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, twoNetworks()...)
	_, err := f.Socket("a", "wan")
	g.Expect(err).To(MatchError(`"a" is not on network "wan", which has: b, c`))
	_, err = f.Socket("a", "moon")
	g.Expect(err).To(MatchError(`no network "moon"; there are: lan, wan`))
}

func TestDialChoosesANetworkThatIsConnected(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, twoNetworks()...)
	echo(t, boot(t, f, "b", "wan").listen(t, 22))
	conn, err := f.Dial(within(t), "b", 22)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(addrOf(conn.LocalAddr())).To(Equal(addr4(30, 2)))
	roundTrip(t, conn, "by the second")
}

func TestStackOptions(t *testing.T) {
	g := NewWithT(t)
	s := newStack()
	defer s.Destroy()
	var sack tcpip.TCPSACKEnabled
	g.Expect(s.TransportProtocolOption(tcp.ProtocolNumber, &sack)).To(BeNil())
	g.Expect(bool(sack)).To(BeTrue())
	var recovery tcpip.TCPRecovery
	g.Expect(s.TransportProtocolOption(tcp.ProtocolNumber, &recovery)).To(BeNil())
	g.Expect(recovery).To(BeZero())
	var moderate tcpip.TCPModerateReceiveBufferOption
	g.Expect(s.TransportProtocolOption(tcp.ProtocolNumber, &moderate)).To(BeNil())
	g.Expect(bool(moderate)).To(BeTrue())
	var congestion tcpip.CongestionControlOption
	g.Expect(s.TransportProtocolOption(tcp.ProtocolNumber, &congestion)).To(BeNil())
	g.Expect(congestion).To(BeEquivalentTo("reno"))
	var send tcpip.TCPSendBufferSizeRangeOption
	g.Expect(s.TransportProtocolOption(tcp.ProtocolNumber, &send)).To(BeNil())
	g.Expect(send.Max).To(Equal(tcpBufferMax))
	var receive tcpip.TCPReceiveBufferSizeRangeOption
	g.Expect(s.TransportProtocolOption(tcp.ProtocolNumber, &receive)).To(BeNil())
	g.Expect(receive.Max).To(Equal(tcpBufferMax))
}
