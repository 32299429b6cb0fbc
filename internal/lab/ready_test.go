package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"

	"ionlab/internal/seed"
)

// sick is an answer to cloud-init's question.
func sick(instance, result, status string) answer {
	return answer{match: "result.json", out: instance + "\n\n" + result + "\n" + status}
}

func TestStagesThatFailSayWhy(t *testing.T) {
	t.Parallel()
	const initTail = "\nlast lines of cloud-init-output.log:\n    Cloud-init v. 22.4 running\n    E: Unable to locate package nosuch" +
		"\nhint: see /var/log/cloud-init-output.log in the artifacts\nlast lines of its console:\n    "
	const unitHint = "\nhint: `systemctl --failed` in the guest names the unit; its journal is in the artifacts\nlast lines of its console:\n    "
	for name, test := range map[string]struct {
		answer answer
		want   string
	}{
		"cloud-init reports errors": {
			sick("INSTANCE", `{"v1": {"datasource": "x", "errors": ["('package_update_upgrade_install', ProcessExecutionError())", "second"]}}`, healthyStatus),
			`node "alice": stage "cloud-init": cloud-init reports: ('package_update_upgrade_install', ProcessExecutionError()); second` + initTail,
		},
		"cloud-init is degraded": {
			sick("INSTANCE", healthyResult, `{"v1": {"stage": null,
					"init-local": {"recoverable_errors": {"WARNING": ["netplan failed"], "DEPRECATED": ["chpasswd.list"]}},
					"init": {"recoverable_errors": {"WARNING": ["b"], "ERROR": ["a"]}}}}`),
			`node "alice": stage "cloud-init": cloud-init reports: init (ERROR): a; init (WARNING): b; init-local (WARNING): netplan failed` + initTail,
		},
		"another instance": {
			sick("i-0abc", healthyResult, healthyStatus),
			`node "alice": stage "cloud-init": cloud-init worked for instance "i-0abc", not for "labtest-ID-alice": it did not read this lab's seed` + initTail,
		},
		"cloud-init is disabled": {
			answer{match: "result.json", out: "cloud-init is disabled in this image\n", code: 3},
			`node "alice": stage "cloud-init": cloud-init is disabled in this image` + initTail,
		},
		"no JSON": {
			sick("INSTANCE", "oops", ""),
			`node "alice": stage "cloud-init": read cloud-init's result.json: invalid character 'o' looking for beginning of value` + initTail,
		},
		"half a JSON": {
			sick("INSTANCE", healthyResult, `{"v1": {`),
			`node "alice": stage "cloud-init": read cloud-init's status.json: unexpected EOF` + initTail,
		},
		"failed units": {
			answer{match: "is-system-running", out: "degraded\nnginx.service loaded failed failed web\nx.mount loaded failed failed x\n"},
			`node "alice": stage "units": systemd is "degraded"; failed units: nginx.service, x.mount` + unitHint,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			b := newBench(t, one, nil)
			b.host.plan("alice").set(func(now *behaviour) { now.answers = []answer{test.answer} })
			err := b.Start(within(t))
			g.Expect(err).To(MatchError(HavePrefix(strings.ReplaceAll(test.want, "ID", b.ID()))))
			var stage *StageError
			g.Expect(errors.As(err, &stage)).To(BeTrue())
			text, _ := b.node("alice").Status()
			g.Expect(text).To(Equal("failed at " + stage.Stage))
			for _, reached := range b.node("alice").Stages() {
				g.Expect(reached.Stage).NotTo(Equal(stage.Stage))
			}
		})
	}
}

func TestFailedUnitsAreAllowedOnRequest(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, func(c *Config) { c.AllowFailedUnits = true })
	b.host.plan("alice").set(func(now *behaviour) {
		now.answers = []answer{{match: "is-system-running", out: "degraded\nnginx.service loaded failed failed web\n"}}
	})
	g.Expect(b.Start(within(t))).To(Succeed())
}

func TestOtherStatesOfSystemdAreNotAllowed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, func(c *Config) { c.AllowFailedUnits = true })
	b.host.plan("alice").set(func(now *behaviour) {
		now.answers = []answer{{match: "is-system-running", out: "maintenance\n"}}
	})
	g.Expect(b.Start(within(t))).To(MatchError(ContainSubstring(`systemd is "maintenance"`)))
}

func TestStageThatTakesTooLongNamesItsLastCause(t *testing.T) {
	t.Parallel()
	hostKey, err := seed.NewHostKey(rand.Reader)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	foreign, err := ssh.ParsePrivateKey([]byte(hostKey.Private))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, test := range map[string]struct {
		spoil func(*behaviour)
		stage string
		want  []string
	}{
		"no sshd": {
			func(now *behaviour) { now.noSSH = true }, "sshd",
			[]string{"connection refused", "its SSH server does not answer"},
		},
		"foreign host key": {
			func(now *behaviour) { now.foreignHostKey = foreign }, "sshd",
			[]string{"host key mismatch"},
		},
		"key refused": {
			func(now *behaviour) { now.refusesKey = true }, "login",
			[]string{"unable to authenticate", "cloud-init has not put the lab's key in place"},
		},
		"cloud-init hangs": {
			func(now *behaviour) { now.answers = []answer{{match: "result.json", hang: true}} }, "cloud-init",
			nil,
		},
		"units hang": {
			func(now *behaviour) { now.answers = []answer{{match: "is-system-running", hang: true}} }, "units",
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			g.Expect(growing(func(limit time.Duration) error {
				b := newBench(t, one, func(c *Config) {
					for stage, of := range map[string]*time.Duration{
						"sshd": &c.Limits.Boot, "login": &c.Limits.Login, "cloud-init": &c.Limits.Init, "units": &c.Limits.Units,
					} {
						if stage == test.stage {
							*of = limit
						}
					}
				})
				b.host.plan("alice").set(test.spoil)
				err := b.Start(within(t))
				g.Expect(err).To(MatchError(HavePrefix(fmt.Sprintf("node %q: stage %q: ", "alice", test.stage))))
				g.Expect(err).To(MatchError(ContainSubstring("not reached within %s", limit)))
				return lacks(err, append(test.want, "Linux version 6.1.0 (fake)")...)
			})).To(Succeed())
		})
	}
}

func TestAnSSHServerThatFailedForGoodEndsTheWait(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, func(c *Config) { c.Limits.Boot, c.Limits.Sshd = 10*time.Minute, 100*time.Millisecond })
	b.host.plan("alice").set(func(now *behaviour) { now.noSSH = true })
	done := make(chan error, 1)
	go func() { done <- b.Start(within(t)) }()
	g.Eventually(status(b.node("alice"))).WithTimeout(patience).Should(Equal("waiting for sshd"))
	g.Consistently(done, 300*time.Millisecond).ShouldNot(Receive(), "nothing says that it failed")
	b.host.machine(t, "alice").emit("[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mssh.servic\u2026\x1b[0m - OpenBSD Secure Shell server.\r\n")
	var err error
	g.Eventually(done).WithTimeout(patience).Should(Receive(&err))
	g.Expect(err).To(MatchError(And(
		HavePrefix(`node "alice": stage "sshd": its SSH server failed to start, and nothing answers 100ms later: [FAILED] Failed to start ssh.servic`),
		ContainSubstring("connection refused"))))
}

func TestSilentConsoleIsNoFailure(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, func(c *Config) { c.Limits.Boot = 30 * time.Second })
	b.host.plan("alice").set(func(now *behaviour) { now.silent = true })
	ctx := within(t)
	done := make(chan error, 1)
	go func() { done <- b.Start(ctx) }()
	g.Eventually(status(b.node("alice"))).WithTimeout(patience).Should(Equal("waiting for kernel"))
	g.Consistently(done, 100*time.Millisecond).ShouldNot(Receive())
	b.host.machine(t, "alice").emit("login: ")
	g.Eventually(done).WithTimeout(patience).Should(Receive(BeNil()))
}
