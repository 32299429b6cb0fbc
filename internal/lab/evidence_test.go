package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/artifact"
)

// collect takes evidence into a new folder, with what the lab says are secrets taken out.
func (b *bench) collect(ctx context.Context, since time.Time) (*artifact.Dir, error) {
	b.t.Helper()
	dir, err := artifact.Create(b.t.TempDir(), "lab", "spec")
	NewWithT(b.t).Expect(err).NotTo(HaveOccurred())
	dir.Redact(b.Secrets())
	return dir, b.Collect(ctx, dir, since)
}

func read(t testing.TB, dir *artifact.Dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir.Path(), name))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(data)
}

// outside is what is known of a node without its guest, inside what only the guest tells.
var (
	outside = []string{"console.log", "domain.xml"}
	inside  = []string{
		"domain-live.xml", "qemu-command.txt", "journal.log", "kernel.log", "units.txt", "failed-units.txt",
		"cloud-init.log", "cloud-init-output.log", "network.txt",
	}
)

func named(node string, lists ...[]string) []string {
	var out []string
	for _, list := range lists {
		for _, name := range list {
			out = append(out, node+"/"+name)
		}
	}
	return out
}

func TestCollectTakesEvidenceOfEveryNode(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	b.host.plan("bob").set(func(now *behaviour) {
		now.answers = []answer{{match: "journalctl", out: "its key: " + b.key.Private + "\n"}}
	})
	dir, err := b.collect(within(t), time.Time{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dir.Names()).To(ConsistOf(append(append([]string{"lab.json", "links.txt", "networks/lan.pcapng"}, named("alice", outside, inside)...), named("bob", outside, inside)...)))
	g.Expect(read(t, dir, "alice/journal.log")).To(Equal("journal of alice\n"))
	g.Expect(read(t, dir, "bob/kernel.log")).To(Equal("kernel ring of bob\n"))
	g.Expect(read(t, dir, "alice/console.log")).To(ContainSubstring("Linux version 6.1.0 (fake)"))
	g.Expect(read(t, dir, "alice/qemu-command.txt")).To(Equal("qemu-system-x86_64 -name guest=alice\n"))
	g.Expect(read(t, dir, "alice/domain.xml")).To(ContainSubstring("<name>two-alice</name>"))
	leaked := read(t, dir, "bob/journal.log")
	g.Expect(leaked).To(HavePrefix("its key: "))
	g.Expect(leaked).NotTo(ContainSubstring(strings.Split(b.key.Private, "\n")[1]))

	var summary struct {
		ID, Topology, File, Accelerator, Took string
		Nodes                                 []struct {
			Name, Status, Image string
			Stages              []string
		}
	}
	g.Expect(json.Unmarshal([]byte(read(t, dir, "lab.json")), &summary)).To(Succeed())
	g.Expect(summary.ID).To(Equal(b.ID()))
	g.Expect(summary.Topology).To(Equal("two"))
	g.Expect(summary.File).To(Equal("test.yaml"))
	g.Expect(summary.Nodes).To(HaveLen(2))
	g.Expect(summary.Nodes[1].Status).To(Equal("ready"))
	g.Expect(summary.Nodes[1].Image).To(Equal("debian-12"))
	g.Expect(summary.Nodes[1].Stages).To(ConsistOf(
		MatchRegexp(`^kernel \d`), MatchRegexp(`^sshd \d`), MatchRegexp(`^login \d`), MatchRegexp(`^cloud-init \d`), MatchRegexp(`^units \d`)))
}

func TestCollectAsksForTheJournalSinceTheSpec(t *testing.T) {
	g := NewWithT(t)
	g.Expect(guestEvidence(time.Unix(1700000000, 0))["journal.log"]).To(ContainElement("--since=@1699999999"))
	g.Expect(guestEvidence(time.Time{})["journal.log"]).To(ContainElement("-b"))
}

func TestCollectOfALabThatNeverStarted(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	dir, err := b.collect(within(t), time.Time{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dir.Names()).To(ConsistOf("lab.json"))
	g.Expect(read(t, dir, "lab.json")).To(ContainSubstring(`"Status": "not started"`))
}

func TestCollectOfAStartThatFailed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.host.failCreate = errors.New("broken")
	g.Expect(b.Start(within(t))).NotTo(Succeed())
	dir, err := b.collect(within(t), time.Time{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dir.Names()).To(ContainElements("lab.json", "alice/console.log", "bob/console.log"))
}

func TestCollectOfADeadAndAnOffNode(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	m := b.host.machine(t, "alice")
	m.emit("the last words\n")
	m.stop(killed)
	g.Eventually(status(b.node("alice"))).WithTimeout(atOnce).Should(HavePrefix("dead"))
	g.Expect(b.node("bob").PowerOff(within(t))).To(Succeed())
	dir, err := b.collect(within(t), time.Time{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dir.Names()).To(ConsistOf(append(append([]string{"lab.json", "links.txt", "networks/lan.pcapng"}, named("alice", outside)...), named("bob", outside)...)))
	g.Expect(read(t, dir, "alice/console.log")).To(HaveSuffix("the last words\n"))
	g.Expect(read(t, dir, "lab.json")).To(ContainSubstring(killed))
}

func TestCollectIsBoundedWhenAGuestHangs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(*bench)
		want  []string
	}{
		"commands hang": {
			func(b *bench) { b.host.plan("alice").set(func(now *behaviour) { now.hangs = true }) },
			[]string{"evidence is incomplete: ", "journal.log of alice: ", "kernel.log of alice: "},
		},
		"no connection": {
			func(b *bench) {
				b.host.plan("alice").set(func(now *behaviour) { now.refusesKey = true })
				b.nodes[0].life.guest.Disconnect()
			},
			[]string{"evidence is incomplete: everything inside of alice: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			b := newBench(t, two, nil)
			b.up()
			test.spoil(b)
			g.Expect(growing(func(limit time.Duration) error {
				b.limits.Evidence = limit
				began := time.Now()
				dir, err := b.collect(within(t), time.Time{})
				g.Expect(time.Since(began)).To(BeNumerically("<", limit+patience/2))
				g.Expect(lacks(err, test.want...)).To(Succeed())
				g.Expect(dir.Names()).To(ContainElements(named("alice", outside)))
				g.Expect(dir.Names()).To(ContainElements(named("bob", outside)))
				if strings.Contains(err.Error(), "of bob") {
					return fmt.Errorf("the others are not complete: %w", err)
				}
				g.Expect(dir.Names()).To(ContainElements(named("bob", inside)))
				g.Expect(read(t, dir, "bob/journal.log")).To(Equal("journal of bob\n"))
				return nil
			})).To(Succeed())
		})
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, `nodes: [{name: alice, cloud_init: {user: tester, password: s3cret!}}, {name: bob, cloud_init: {user: same, password: same}}]`, nil)
	g.Expect(b.Secrets()).To(ConsistOf(b.key.Private, b.node("alice").hostKey.Private, b.node("bob").hostKey.Private, "s3cret!"),
		"a password that is the user's name is none: it would mask the name")
}
