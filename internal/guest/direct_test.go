package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// directServer is a server whose guest can connect to the host; conns counts the connections.
func directServer(t *testing.T) (s *testServer, c *Client, conns *atomic.Int64) {
	s, conns = newServer(t), &atomic.Int64{}
	cfg := s.config()
	cfg.Listen = func() (net.Listener, error) {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
		return &countingListener{ln, conns}, err
	}
	return s, newClient(t, cfg), conns
}

type countingListener struct {
	net.Listener
	conns *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.conns.Add(1)
	}
	return conn, err
}

// noise is a file of that size whose content no other has.
func noise(t *testing.T, name string, size int64) []byte {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data)
	NewWithT(t).Expect(os.WriteFile(name, data, 0o640)).To(Succeed())
	return data
}

func TestLargeFilesTravelBesideSSH(t *testing.T) {
	g := NewWithT(t)
	s, c, conns := directServer(t)
	host, guest := t.TempDir(), s.home
	data := noise(t, filepath.Join(host, "large"), directLeast+12345)
	g.Expect(c.Upload(soon(t), filepath.Join(host, "large"), filepath.Join(guest, "large"))).To(Succeed())
	g.Expect(conns.Load()).To(BeEquivalentTo(2), "the probe and the file")
	there, err := os.ReadFile(filepath.Join(guest, "large"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Equal(there, data)).To(BeTrue())
	g.Expect(c.Download(soon(t), filepath.Join(guest, "large"), filepath.Join(host, "back"))).To(Succeed())
	g.Expect(conns.Load()).To(BeEquivalentTo(3))
	back, err := os.ReadFile(filepath.Join(host, "back"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Equal(back, data)).To(BeTrue())
}

func TestLargeTreesTravelBesideSSH(t *testing.T) {
	g := NewWithT(t)
	s, c, conns := directServer(t)
	host := t.TempDir()
	g.Expect(os.Mkdir(filepath.Join(host, "tree"), 0o755)).To(Succeed())
	for _, name := range []string{"a", "b", "c"} {
		noise(t, filepath.Join(host, "tree", name), directLeast/2)
	}
	g.Expect(c.Upload(soon(t), filepath.Join(host, "tree"), filepath.Join(s.home, "tree"))).To(Succeed())
	g.Expect(conns.Load()).To(BeEquivalentTo(2))
	g.Expect(c.Download(soon(t), filepath.Join(s.home, "tree"), filepath.Join(host, "back"))).To(Succeed())
	for _, name := range []string{"a", "b", "c"} {
		want, err := os.ReadFile(filepath.Join(host, "tree", name))
		g.Expect(err).NotTo(HaveOccurred())
		got, err := os.ReadFile(filepath.Join(host, "back", name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(bytes.Equal(got, want)).To(BeTrue(), name)
	}
}

func TestSmallFilesTravelBySSH(t *testing.T) {
	g := NewWithT(t)
	s, c, conns := directServer(t)
	g.Expect(c.WriteFile(soon(t), filepath.Join(s.home, "small"), make([]byte, directLeast-1), 0o600)).To(Succeed())
	g.Expect(conns.Load()).To(BeZero())
}

func TestGuestThatCannotConnectIsServedBySSH(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	cfg := s.config()
	var asked atomic.Int64
	cfg.Listen = func() (net.Listener, error) { // A firewall of the guest's own.
		asked.Add(1)
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err == nil {
			err = ln.Close()
		}
		return ln, err
	}
	c := newClient(t, cfg)
	host := t.TempDir()
	data := noise(t, filepath.Join(host, "large"), directLeast)
	for range 2 {
		g.Expect(c.Upload(soon(t), filepath.Join(host, "large"), filepath.Join(s.home, "large"))).To(Succeed())
	}
	g.Expect(asked.Load()).To(BeEquivalentTo(1), "it is tried once")
	there, err := os.ReadFile(filepath.Join(s.home, "large"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Equal(there, data)).To(BeTrue())
	c.Disconnect() // as before a reboot
	g.Expect(c.Download(soon(t), filepath.Join(s.home, "large"), filepath.Join(host, "back"))).To(Succeed())
	g.Expect(asked.Load()).To(BeEquivalentTo(2))
}

func TestGuestThatLosesTheWayIsServedBySSH(t *testing.T) {
	g := NewWithT(t)
	s, c, conns := directServer(t)
	listen := c.cfg.Listen
	var calls atomic.Int64
	c.cfg.Listen = func() (net.Listener, error) {
		ln, err := listen()
		if calls.Add(1) > 1 && err == nil {
			err = ln.Close()
		}
		return ln, err
	}
	host := t.TempDir()
	data := noise(t, filepath.Join(host, "large"), directLeast)
	g.Expect(c.Upload(soon(t), filepath.Join(host, "large"), filepath.Join(s.home, "large"))).To(Succeed())
	g.Expect(conns.Load()).To(BeEquivalentTo(1), "the probe alone")
	there, err := os.ReadFile(filepath.Join(s.home, "large"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Equal(there, data)).To(BeTrue())
}

func TestStrangersOnTheDirectPortAreHungUpOn(t *testing.T) {
	g := NewWithT(t)
	_, c, _ := directServer(t)
	d, err := c.openDirect()
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	accepted := make(chan net.Conn, 1)
	go func() { conn, _ := d.accept(); accepted <- conn }()
	stranger, err := net.Dial("tcp4", d.listener.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	_, err = io.WriteString(stranger, "not the token, but as long as it is\n")
	g.Expect(err).NotTo(HaveOccurred())
	_ = stranger.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = stranger.Read(make([]byte, 1))
	g.Expect(err).To(HaveOccurred())
	g.Expect(errors.Is(err, os.ErrDeadlineExceeded)).To(BeFalse(), "it was hung up on")
	friend, err := net.Dial("tcp4", d.listener.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer friend.Close()
	_, err = io.WriteString(friend, d.token+"\nand more")
	g.Expect(err).NotTo(HaveOccurred())
	conn := <-accepted
	rest := make([]byte, 8)
	_, err = io.ReadFull(conn, rest)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(rest)).To(Equal("and more"), "the content begins after the token's line")
}

func TestDirectUploadThatTheGuestRefusesSaysWhy(t *testing.T) {
	g := NewWithT(t)
	s, c, _ := directServer(t)
	host := t.TempDir()
	noise(t, filepath.Join(host, "large"), 4*directLeast)
	g.Expect(os.Mkdir(filepath.Join(s.home, "taken"), 0o755)).To(Succeed())
	err := c.WriteFile(soon(t), filepath.Join(s.home, "taken"), make([]byte, 2*directLeast), 0o600)
	g.Expect(err).To(MatchError(ContainSubstring("taken: Is a directory")))
	err = c.Download(soon(t), filepath.Join(s.home, "missing"), filepath.Join(host, "missing"))
	g.Expect(errors.Is(err, os.ErrNotExist)).To(BeTrue(), "%v", err)
	g.Expect(filepath.Join(host, "missing")).NotTo(BeAnExistingFile())
}

func TestDirectUploadOfAFileThatShrinksSaysSo(t *testing.T) {
	g := NewWithT(t)
	s, c, _ := directServer(t)
	err := c.operate(soon(t), "upload", "", "", func(ctx context.Context) error {
		return c.send(ctx, upload{op: "upload", dst: filepath.Join(s.home, "f"), size: 2 * directLeast, content: bytes.NewReader(make([]byte, directLeast))})
	})
	g.Expect(err).To(MatchError(ContainSubstring("the source became shorter while it was read")))
	g.Expect(filepath.Join(s.home, "f")).NotTo(BeAnExistingFile())
}
