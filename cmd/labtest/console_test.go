package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestConsoleCopies(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	run := s.lab(t, "aa11bb", "alice")
	path := filepath.Join(run, "s", "alice.console")
	listen(t, path, func(conn *net.UnixConn) {
		defer os.RemoveAll(filepath.Dir(path)) // with the lab
		line, _ := bufio.NewReader(conn).ReadString('\n')
		more := make(chan int, 1)
		go func() { n, _ := conn.Read(make([]byte, 1)); more <- n }()
		select {
		case <-more:
			_, _ = conn.Write([]byte("hung up by the end of the input\n"))
		case <-time.After(100 * time.Millisecond):
			_, _ = conn.Write([]byte("login: " + line))
		}
	})
	s.in.WriteString("root\n")
	g.Expect(s.run(t.Context(), "console", "aa11bb", "alice")).To(Equal(result{0, "login: root\n", ""}))
}

func TestConsoleGoesOnInTheNextQEMU(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	path := filepath.Join(s.lab(t, "aa11bb", "alice"), "s", "alice.console")
	served := make(chan struct{})
	go func() {
		defer close(served)
		for _, says := range []string{"reboot: Restarting system\n", "Linux version\n", "reboot: Power down\n"} {
			_ = os.Remove(path)
			qemu, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Error(err)
				return
			}
			conn, err := qemu.AcceptUnix()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.Write([]byte(says))
			_, _ = conn.Close(), qemu.Close()
			<-time.After(100 * time.Millisecond)
		}
	}()
	g.Eventually(func() error { _, err := os.Stat(path); return err }).Should(Succeed())
	g.Expect(s.run(t.Context(), "console", "aa11bb", "alice")).To(Equal(result{0, "reboot: Restarting system\nLinux version\nreboot: Power down\n", ""}))
	<-served
}

func TestConsoleWithoutADomain(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	s.lab(t, "aa11bb", "alice")
	got := s.run(t.Context(), "console", "aa11bb", "alice")
	g.Expect(got.status).To(Equal(1))
	g.Expect(got.err).To(Equal("labtest: open the console of node \"alice\": it has no domain (`labtest status aa11bb`)\n"))
}

// QEMU takes up one client; the kernel lets a second one wait.
func TestConsoleSaysThatAnotherClientHoldsIt(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	path := filepath.Join(s.lab(t, "aa11bb", "alice"), "s", "alice.console")
	qemu, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	g.Expect(err).NotTo(HaveOccurred())
	defer qemu.Close()
	first, err := net.Dial("unix", path)
	g.Expect(err).NotTo(HaveOccurred())
	defer first.Close()
	served, err := qemu.AcceptUnix()
	g.Expect(err).NotTo(HaveOccurred())
	defer served.Close()
	began := time.Now()
	got := s.run(t.Context(), "console", "aa11bb", "alice")
	g.Expect(got.status).To(Equal(1))
	g.Expect(got.err).To(ContainSubstring(`open the console of node "alice": another client holds it, and QEMU serves one at a time`))
	g.Expect(time.Since(began)).To(BeNumerically("<", acceptLimit), "it is known at once")
}

func TestCountClients(t *testing.T) {
	g := NewWithT(t)
	const table = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 11111 /run/a b/x.console
0000000000000000: 00000003 00000000 00000000 0001 03 22222 /run/a b/x.console
0000000000000000: 00000002 00000000 00000000 0001 02     0 /run/a b/x.console
0000000000000000: 00000002 00000000 00000000 0001 02     0 /run/a b/x.console
0000000000000000: 00000003 00000000 00000000 0001 03 33333 /run/other
0000000000000000: 00000003 00000000 00000000 0001 03 44444
`
	held, waiting := countClients(table, "/run/a b/x.console")
	g.Expect([]int{held, waiting}).To(Equal([]int{1, 2}))
}

func TestTheLeaveKeyEndsTheInput(t *testing.T) {
	g := NewWithT(t)
	left := 0
	in := &leavable{in: strings.NewReader("ls\r\x1dnever"), key: leaveKey, left: func() { left++ }}
	data, err := io.ReadAll(in)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data)).To(Equal("ls\r"))
	g.Expect(left).To(Equal(1))
	plain := &leavable{in: strings.NewReader("a\x1db"), key: -1, left: func() { left++ }}
	data, err = io.ReadAll(plain)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data)).To(Equal("a\x1db"), "what is no terminal has no keys")
	g.Expect(left).To(Equal(1))
}
