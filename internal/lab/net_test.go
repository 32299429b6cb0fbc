package lab

import (
	"bufio"
	"net"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func dial(t testing.TB, network, addr string) (net.Conn, error) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(within(t), network, addr)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// banner is the first line that a server sends.
func banner(t testing.TB, network, addr string) string {
	t.Helper()
	g := NewWithT(t)
	conn, err := dial(t, network, addr)
	g.Expect(err).NotTo(HaveOccurred())
	line, err := bufio.NewReader(conn).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	return line
}

// listenTCP takes a port of the loopback and returns its address.
func listenTCP(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(within(t), "tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}
