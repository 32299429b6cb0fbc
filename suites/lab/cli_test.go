package lab_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
	. "ionlab/matchers"
	"ionlab/suites/room"
)

var _ = Describe("labtest up, beside another owner of the same topology", Ordered, ContinueOnFailure, Label("vm", "cli"), func() {
	var (
		bin, id string
		up      *gexec.Session
		ours    *labtest.Node
	)

	// run runs a verb of the command line to its end.
	run := func(args ...string) *gexec.Session {
		GinkgoHelper()
		session, err := gexec.Start(exec.Command(bin, args...), GinkgoWriter, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		Eventually(session).Within(time.Minute).Should(gexec.Exit())
		return session
	}
	sshConfig := func() string {
		return filepath.Join(filepath.Dir(filepath.Dir(ours.Lab().SSHConfig())), id, "ssh_config")
	}

	BeforeAll(func(ctx SpecContext) {
		var err error
		bin, err = gexec.Build("ionlab/cmd/labtest")
		Expect(err).NotTo(HaveOccurred())
		up, err = gexec.Start(exec.Command(bin, "up", "../../topologies/single.yaml"), GinkgoWriter, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { up.Kill().Wait(time.Minute) })
		ours = labtest.Start(ctx, "../../topologies/single.yaml").Node("solo")
		Eventually(ctx, up).Within(10 * time.Minute).Should(gbytes.Say(`ssh_config`))
		found := regexp.MustCompile(`/([0-9a-f]{6})/ssh_config`).FindSubmatch(up.Out.Contents())
		Expect(found).To(HaveLen(2))
		id = string(found[1])
	}, NodeTimeout(20*time.Minute))

	It("lists both labs", func() {
		session := run("list", "--json")
		Expect(session).To(gexec.Exit(0))
		var labs []struct {
			ID       string
			Topology string
			Nodes    []struct{ Name, State string }
		}
		Expect(json.Unmarshal(session.Out.Contents(), &labs)).To(Succeed())
		seen := map[string]string{}
		for _, lab := range labs {
			if lab.Topology == "single" {
				Expect(lab.Nodes).To(HaveLen(1))
				seen[lab.ID] = lab.Nodes[0].Name + " " + lab.Nodes[0].State
			}
		}
		Expect(seen).To(And(HaveKeyWithValue(id, "solo running"), HaveKeyWithValue(ours.Lab().ID(), "solo running")))
	})

	It("keeps the owners apart: same names, addresses and MACs, other machines", func(ctx SpecContext) {
		Expect(run("exec", id, "solo", "--", "sh", "-c", "echo theirs > /var/tmp/whose")).To(gexec.Exit(0))
		Expect(ours.WriteFile(ctx, "/var/tmp/whose", []byte("ours\n"), 0o644)).To(Succeed())
		Expect(run("exec", id, "solo", "--", "cat", "/var/tmp/whose")).To(gbytes.Say("^theirs\n$"))
		Expect(ours.ReadFile(ctx, "/var/tmp/whose")).To(Equal([]byte("ours\n")))
		res, err := ours.Shell(ctx, "ip -o link; ip -4 -o addr show scope global")
		Expect(err).NotTo(HaveOccurred())
		theirs := run("exec", id, "solo", "--", "sh", "-c", "ip -o link; ip -4 -o addr show scope global")
		Expect(string(theirs.Out.Contents())).To(Equal(res.Stdout()))
	}, NodeTimeout(2*time.Minute))

	It("runs commands with their exit status, output and standard input", func() {
		session := run("exec", id, "solo", "--", "sh", "-c", "echo out; echo err >&2; exit 42")
		Expect(session).To(gexec.Exit(42))
		Expect(session.Out).To(gbytes.Say("^out\n$"))
		Expect(session.Err).To(gbytes.Say("err"))
		cmd := exec.Command(bin, "exec", id, "solo", "--", "cat")
		cmd.Stdin = strings.NewReader("through")
		Expect(cmd.Output()).To(Equal([]byte("through")))
	})

	It("is reached by plain ssh, scp and rsync", func(ctx SpecContext) {
		dir := GinkgoT().TempDir()
		Expect(os.WriteFile(filepath.Join(dir, "a file"), []byte("content\n"), 0o600)).To(Succeed())
		for _, argv := range [][]string{
			{"ssh", "-F", sshConfig(), "solo", "hostname"},
			{"scp", "-F", sshConfig(), filepath.Join(dir, "a file"), "solo:/var/tmp/by-scp"},
			{"rsync", "-e", "ssh -F " + sshConfig(), filepath.Join(dir, "a file"), "solo:/var/tmp/by-rsync"},
			{"ssh", "-F", sshConfig(), "solo", "cmp /var/tmp/by-scp /var/tmp/by-rsync && cat /var/tmp/by-scp"},
		} {
			out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
			Expect(err).NotTo(HaveOccurred(), "%q: %s", argv, out)
			GinkgoWriter.Printf("%q: %s", argv, out)
		}
		Expect(run("exec", id, "solo", "--", "cat", "/var/tmp/by-rsync")).To(gbytes.Say("content"))
	}, NodeTimeout(3*time.Minute))

	It("copies both ways", func() {
		dir := GinkgoT().TempDir()
		src, back := filepath.Join(dir, "src"), filepath.Join(dir, "back")
		Expect(os.WriteFile(src, []byte{0, 1, 2}, 0o600)).To(Succeed())
		Expect(run("cp", src, id+":solo:/var/tmp/cp")).To(gexec.Exit(0))
		Expect(run("cp", id+":solo:/var/tmp/cp", back)).To(gexec.Exit(0))
		Expect(os.ReadFile(back)).To(Equal([]byte{0, 1, 2}))
	})

	It("shows the serial console", func() {
		cmd := exec.Command(bin, "console", id, "solo")
		stdin, err := cmd.StdinPipe()
		Expect(err).NotTo(HaveOccurred())
		session, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { session.Kill().Wait(time.Minute) })
		Eventually(func() *gbytes.Buffer {
			_, _ = stdin.Write([]byte("\n"))
			return session.Out
		}).Within(time.Minute).ProbeEvery(2 * time.Second).Should(gbytes.Say("solo login:"))
	})

	It("says what is known when a lab or node is not", func() {
		session := run("exec", id, "nobody", "--", "true")
		Expect(session).To(gexec.Exit(2))
		Expect(session.Err).To(gbytes.Say("solo"))
		session = run("exec", "ffffff", "solo", "--", "true")
		Expect(session).To(gexec.Exit(2))
		Expect(session.Err).To(gbytes.Say(id))
	})

	It("ends with down, and leaves the other owner alone", func(ctx SpecContext) {
		Expect(run("down", id)).To(gexec.Exit(0))
		Eventually(ctx, up).Within(30 * time.Second).Should(gexec.Exit(0))
		Expect(filepath.Dir(sshConfig())).NotTo(BeADirectory())
		Expect(ours.Exec(ctx, "cat", "/var/tmp/whose")).To(OutputMatching("^ours\n$"))
	}, NodeTimeout(2*time.Minute))

	It("ends at ^C while it starts, with exit status 1 or 130 and nothing left", func(ctx SpecContext) {
		in := room.New()
		cmd := exec.Command(bin, "up", "../../topologies/single.yaml")
		cmd.Env = append(os.Environ(), in.Env()...)
		session, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, in.Processes).Within(time.Minute).Should(ContainElement(ContainSubstring("qemu")))
		session.Signal(syscall.SIGINT)
		Eventually(ctx, session).Within(30 * time.Second).Should(gexec.Exit())
		Expect(in.Processes()).To(BeEmpty())
		Expect(in.Labs()).To(BeEmpty())
	}, NodeTimeout(3*time.Minute))
})
