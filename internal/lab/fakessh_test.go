package lab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// plan is how a fake guest behaves. Tests change it by set, before a boot or during it.
type plan struct {
	mu    sync.Mutex
	now   behaviour
	boots int
}

// behaviour of a guest; the zero value is a healthy Debian.
type behaviour struct {
	silent         bool // prints nothing
	noSSH          bool // never starts its sshd
	foreignHostKey ssh.Signer
	refusesKey     bool // as before cloud-init has put the key in place
	ignoresButton  bool
	sameBoot       bool // does not really restart on reboot
	rebootEnds     bool // the domain ends instead of restarting
	hangs          bool // takes commands and never answers
	// answers are what commands print, by a text in their command line; they come before the healthy ones.
	answers []answer
}

// answer is what a command with that text in it does. INSTANCE in out stands for the instance id of the seed.
type answer struct {
	match    string
	out, err string
	code     int
	hang     bool
	before   func() // called when the command begins
}

func (p *plan) get() behaviour {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// nextBoot is the number of another boot.
func (p *plan) nextBoot() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.now.sameBoot {
		p.boots++
	}
	return p.boots
}

func (p *plan) set(change func(*behaviour)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.now)
}

// Results of cloud-init, as version 22.4 writes them.
const (
	healthyResult = `{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb]", "errors": []}}`
	healthyStatus = `{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb]", "init": {"errors": [], "finished": 1.5, "start": 1.0},
 "modules-final": {"errors": [], "finished": 3.5, "start": 2.0}, "stage": null}}`
)

// healthy are the answers of a guest with nothing wrong. What is not among them is really run, by sh on this machine.
func (g *fakeGuest) healthy() []answer {
	return []answer{
		{match: "result.json", out: "INSTANCE\n\n" + healthyResult + "\n" + healthyStatus},
		{match: "clock_settime", out: "NONCE CLOCK RANDOM\n"},
		{match: "perl -e exit"},
		{match: "/proc/sys/kernel/random/boot_id", out: g.bootID() + "\n"},
		{match: "is-system-running", out: "running\n"},
		{match: "systemctl reboot", before: g.machine.reboot},
		{match: "tail -n 15 /var/log/cloud-init-output.log", out: "Cloud-init v. 22.4 running\nE: Unable to locate package nosuch\n"},
		{match: "journalctl", out: "journal of " + g.machine.node + "\n"},
		{match: "exec dmesg", out: "kernel ring of " + g.machine.node + "\n"},
		{match: "systemctl list-units", out: "ssh.service loaded active running\n"},
		{match: "systemctl --failed", out: "0 loaded units listed.\n"},
		{match: "cat /var/log/cloud-init", out: "cloud-init's log\n"},
		{match: "ip addr; ip route", out: "1: lo\n"},
		{match: "find_tree"}, // guest kills what it started
	}
}

// serveSSH is the guest's sshd for one connection.
func (g *fakeGuest) serveSSH(raw net.Conn) {
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if g.machine.plan.get().refusesKey || string(key.Marshal()) != string(g.identity.client.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	cfg.AddHostKey(g.identity.hostKey)
	conn, chans, reqs, err := ssh.NewServerConn(raw, cfg)
	if err != nil {
		return
	}
	var sessions sync.WaitGroup
	defer sessions.Wait()
	sessions.Go(func() { ssh.DiscardRequests(reqs) })
	for nc := range chans {
		ch, requests, err := nc.Accept()
		if err == nil {
			sessions.Go(func() { g.session(ch, requests) })
		}
	}
	_ = conn.Wait()
}

func (g *fakeGuest) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	var work sync.WaitGroup
	over := make(chan struct{})
	for req := range reqs {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			if req.Type == "signal" {
				_ = ch.Close() // which ends whatever hangs
			}
			continue
		}
		var m struct{ Command string }
		_ = ssh.Unmarshal(req.Payload, &m)
		_ = req.Reply(true, nil)
		work.Go(func() { g.exec(ch, m.Command, over) })
	}
	close(over)
	work.Wait()
}

// mark is how the launcher of package guest announces that the program runs.
var mark = regexp.MustCompile(`\\000ionlab ([0-9a-f]+) %s`)

// exec answers one command; over is closed when the client has given it up.
func (g *fakeGuest) exec(ch ssh.Channel, line string, over <-chan struct{}) {
	defer ch.Close()
	p := g.machine.plan.get()
	for _, a := range append(append([]answer{}, p.answers...), g.healthy()...) {
		if !strings.Contains(line, a.match) {
			continue
		}
		if m := mark.FindStringSubmatch(line); m != nil {
			_, _ = io.WriteString(ch.Stderr(), "\x00ionlab "+m[1]+" 4242\x00\n")
		}
		_, _ = io.WriteString(ch, g.fill(a.out))
		_, _ = io.WriteString(ch.Stderr(), a.err)
		if a.before != nil {
			a.before()
		}
		if a.hang || p.hangs {
			<-over
			return
		}
		exited(ch, a.code)
		return
	}
	if p.hangs {
		<-over
		return
	}
	really(ch, line)
}

// fill replaces what stands for the guest's own in an answer: its instance id, the nonce of its boot, its clock, and
// what its random source gives.
func (g *fakeGuest) fill(text string) string {
	now := time.Now()
	var random [16]byte
	_, _ = rand.Read(random[:])
	return strings.NewReplacer("INSTANCE", g.identity.instance, "NONCE", g.identity.nonce,
		"CLOCK", fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()), "RANDOM", hex.EncodeToString(random[:])).Replace(text)
}

// really runs a command of the test itself.
func really(ch ssh.Channel, line string) {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	var input sync.WaitGroup
	defer input.Wait()
	if err := cmd.Start(); err != nil {
		return
	}
	input.Go(func() { _, _ = io.Copy(stdin, ch); _ = stdin.Close() })
	_ = cmd.Wait()
	exited(ch, cmd.ProcessState.ExitCode())
	_ = ch.Close()
}

func exited(ch ssh.Channel, code int) {
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(code)}))
	_ = ch.CloseWrite()
}
