package lab_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

func provisioningSpecs() {
	It("gives the machine its name, address and the lab's host key only", func(ctx SpecContext) {
		Expect(bench.Exec(ctx, "hostname")).To(OutputMatching(`^bench\n$`))
		Expect(bench.Addr("bench").String()).To(Equal("10.77.0.20"))
		Expect(bench.Shell(ctx, "ip -4 -o addr show scope global")).To(OutputContaining("inet 10.77.0.20/24"))
		Expect(bench.Shell(ctx, "ls /etc/ssh/ssh_host_*_key")).To(OutputMatching(`^/etc/ssh/ssh_host_ed25519_key\n$`))
	}, NodeTimeout(time.Minute))

	It("installs the packages of both lists", func(ctx SpecContext) {
		Expect(bench.Run(ctx, labtest.Cmd{Argv: []string{"jq", "-r", ".a"}, Stdin: stringReader(`{"a":"works"}`)})).
			To(And(ExitWith(0), OutputMatching(`^works\n$`)))
		Expect(bench.Exec(ctx, "tree", "--version")).To(And(ExitWith(0), OutputContaining("tree v")))
	}, NodeTimeout(time.Minute))

	It("writes files, byte by byte, with mode and owner", func(ctx SpecContext) {
		data, err := bench.ReadFile(ctx, "/etc/labtest-demo/binary")
		Expect(err).NotTo(HaveOccurred())
		Expect(data).To(Equal([]byte{0, 1, 2, 0xff}))
		Expect(bench.Exec(ctx, "stat", "-c", "%a %U:%G", "/etc/labtest-demo/binary")).To(OutputMatching(`^640 root:tess\n$`))
	}, NodeTimeout(time.Minute))

	It("runs the commands of runcmd, through a shell and not", func(ctx SpecContext) {
		Expect(bench.Exec(ctx, "cat", "/var/lib/runcmd-shell")).To(OutputMatching(`^shell 42\n$`))
		Expect(bench.Exec(ctx, "cat", "/var/lib/runcmd-argv")).To(OutputMatching(`^two words$`))
	}, NodeTimeout(time.Minute))

	It("merges the author's own user-data with the lab's", func(ctx SpecContext) {
		Expect(bench.Exec(ctx, "cat", "/etc/labtest-demo/author")).To(OutputContaining("from the author's own cloud-config"))
		Expect(bench.Exec(ctx, "test", "-e", "/var/lib/runcmd-author")).To(ExitWith(0))
	}, NodeTimeout(time.Minute))

	It("makes the user, who may use sudo", func(ctx SpecContext) {
		Expect(bench.Run(ctx, labtest.Cmd{Argv: []string{"id", "-un"}, User: "tess"})).To(OutputMatching(`^tess\n$`))
		Expect(bench.Run(ctx, labtest.Cmd{Argv: []string{"sudo", "-n", "id", "-u"}, User: "tess"})).
			To(And(ExitWith(0), OutputMatching(`^0\n$`)))
		Expect(bench.Shell(ctx, `getent shadow tess | cut -d: -f2`)).To(OutputMatching(`^\$`), "a password hash is set")
	}, NodeTimeout(time.Minute))

	It("has a session of logind for logins of its user, and for none of root's", func(ctx SpecContext) {
		session := func(user string) string {
			ssh := exec.CommandContext(ctx, "ssh", "-F", bench.Lab().SSHConfig(), "-l", user, "bench", `echo "$XDG_SESSION_ID in $XDG_RUNTIME_DIR"; loginctl --no-legend`)
			out, err := ssh.CombinedOutput()
			Expect(err).NotTo(HaveOccurred(), string(out))
			return string(out)
		}
		Expect(session("root")).To(Equal(" in \n"))
		Expect(session("tess")).To(MatchRegexp(`^(\w+) in /run/user/1000\n *\w+ 1000 tess\b`))
	}, NodeTimeout(time.Minute))

	It("sets env for commands and for logins", func(ctx SpecContext) {
		const want = `hello, 'world' $HOME`
		Expect(bench.Exec(ctx, "printenv", "LAB_GREETING")).To(OutputContaining(want))
		Expect(bench.Run(ctx, labtest.Cmd{Argv: []string{"su", "-", "tess", "-c", "printenv LAB_GREETING"}})).
			To(OutputContaining(want))
	}, NodeTimeout(time.Minute))

	It("deploys files and folders with mode, owner and content", func(ctx SpecContext) {
		data, err := os.ReadFile("../../topologies/files/greet.sh")
		Expect(err).NotTo(HaveOccurred())
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		Expect(bench.Exec(ctx, "sha256sum", "/usr/local/bin/greet", "/opt/files/greet.sh")).
			To(OutputMatching(`(?s)^` + sum + `.*\n` + sum))
		Expect(bench.Exec(ctx, "stat", "-c", "%a %U", "/usr/local/bin/greet")).To(OutputMatching(`^755 tess\n$`))
		Expect(bench.Exec(ctx, "greet")).To(OutputContaining("greetings from bench: hello, 'world'"))
	}, NodeTimeout(time.Minute))

	It("has programs at the same addresses each time where they are translated, until told otherwise", func(ctx SpecContext) {
		where := func() string { return line(ctx, bench, "head", "-n1", "/proc/self/maps") }
		DeferCleanup(func(ctx SpecContext) {
			Expect(bench.Shell(ctx, `! grep -qw norandmaps /proc/cmdline || sysctl -w kernel.randomize_va_space=0`)).To(ExitWith(0))
		})
		if strings.Contains(line(ctx, bench, "cat", "/proc/cmdline"), " norandmaps") {
			Expect(where()).To(Equal(where()))
		}
		Expect(bench.Exec(ctx, "sysctl", "-w", "kernel.randomize_va_space=2")).To(ExitWith(0))
		Expect(where()).NotTo(Equal(where()))
	}, NodeTimeout(time.Minute))

	It("forwards a port of the host", func(ctx SpecContext) {
		server, err := bench.Start(ctx, labtest.Cmd{Shell: `cd /opt/files && exec python3 -m http.server 7777`})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(server.Kill)
		addr := bench.HostAddr(7777)
		Expect(addr.Addr().IsLoopback()).To(BeTrue())
		get := func() (string, error) {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				return "", err
			}
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "GET /greet.sh HTTP/1.0\r\n\r\n")
			data, err := io.ReadAll(conn)
			return string(data), err
		}
		Eventually(ctx, get).Within(30 * time.Second).ProbeEvery(500 * time.Millisecond).
			Should(And(ContainSubstring("200 OK"), ContainSubstring("greetings from")))
	}, NodeTimeout(time.Minute))
}
