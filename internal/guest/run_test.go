package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestArgvArrivesByteForByte(t *testing.T) {
	argv := []string{
		"a b", "", " ", "$HOME", "`id`", "$(id)", "it's", `"quoted"`, `back\slash`, "line\nbreak", "trailing\n", "\t",
		"*", "?", "[a]", "~", "!", "#", "&", ";", "|", "<", ">", "(", ")", "{a,b}", "--", "-n", "A=b", "\xff\xfe", "\x01\x7f",
		"ünïcode", "\u2028", "'", "''", `'\''`, "\\n", "%s", "%%",
	}
	each(t, func(t *testing.T, c *Client, _ string) {
		g := NewWithT(t)
		res, err := c.Run(soon(t), Cmd{Argv: append([]string{"printf", `%s\0`}, argv...)})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(strings.Split(strings.TrimSuffix(res.Stdout(), "\x00"), "\x00")).To(Equal(argv))
		g.Expect(res.Stderr()).To(BeEmpty())
		g.Expect(res.Truncated()).To(BeFalse())
	})
}

func TestProgramNamesThatAShellWouldMisread(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		for _, name := range []string{"-c", "a=b", "with space", "exec", "'"} {
			shellFile(t, home, name, "#!/bin/sh\necho \"got $1 $LC_ALL\"\n")
			cmd := Cmd{Argv: []string{name, "x"}, Env: map[string]string{"PATH": home + ":/usr/bin:/bin", "LC_ALL": "C"}}
			res, err := c.Run(soon(t), cmd)
			g.Expect(err).NotTo(HaveOccurred(), name)
			g.Expect(res.Stdout()).To(Equal("got x C\n"), "%s: %s", name, res.Stderr())
		}
	})
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, _ string) {
		for code := range 256 {
			res, err := c.Run(soon(t), Cmd{Argv: []string{"sh", "-c", fmt.Sprintf("exit %d", code)}})
			if err != nil || res.ExitCode() != code || res.Signal() != "" {
				t.Fatalf("exit %d: got %v, %v", code, res, err)
			}
		}
	})
}

func TestDeathBySignal(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, _ string) {
		for signal, name := range map[syscall.Signal]string{
			syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGKILL: "SIGKILL", syscall.SIGSEGV: "SIGSEGV",
			syscall.SIGTERM: "SIGTERM", syscall.SIGUSR1: "SIGUSR1", syscall.SIGABRT: "SIGABRT",
		} {
			g := NewWithT(t)
			res, err := c.Run(soon(t), Cmd{Shell: fmt.Sprintf("ulimit -c 0; kill -%d $$", int(signal))})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Signal()).To(Equal(name))
			g.Expect(res.ExitCode()).To(Equal(128 + int(signal)))
		}
		g := NewWithT(t)
		res, err := c.Run(soon(t), Cmd{Shell: "ulimit -c 0; kill -BUS $$"})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Signal()).To(Equal("unknown signal"))
		g.Expect(res.ExitCode()).To(Equal(128))
	})
}

func TestMissingProgramIsAResult(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		res, err := c.Run(soon(t), Cmd{Argv: []string{"no-such-program"}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.ExitCode()).To(Equal(127))
		g.Expect(res.Stderr()).To(ContainSubstring("not found"))
		res, err = c.Run(soon(t), Cmd{Argv: []string{home}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.ExitCode()).To(Equal(126))
	})
}

func TestDir(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		odd := filepath.Join(home, "-a b'$c")
		g.Expect(os.Mkdir(odd, 0o755)).To(Succeed())
		res, err := c.Run(soon(t), Cmd{Argv: []string{"pwd", "-P"}, Dir: odd})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Stdout()).To(Equal(odd + "\n"))

		_, err = c.Run(soon(t), Cmd{Argv: []string{"true"}, Dir: home + "/none"})
		var launch *LaunchError
		g.Expect(errors.As(err, &launch)).To(BeTrue(), "%v", err)
		g.Expect(launch.Stage).To(Equal("chdir"))
		g.Expect(err).To(MatchError(And(
			ContainSubstring(`run true on node "alice"`), ContainSubstring("chdir: "), ContainSubstring(home+"/none"))))
	})
}

func TestEnv(t *testing.T) {
	each(t, func(t *testing.T, c *Client, _ string) {
		g := NewWithT(t)
		c.cfg.Env = map[string]string{"NODE": "n", "BOTH": "node"}
		env := map[string]string{
			"BOTH": "cmd", "EMPTY": "", "ODD": "a b'\"$x`\n\xff\n", "LC_ALL": "nonsense", "UID": "77", "PPID": "1",
			"IFS": "x", "PS1": "p", "BASH_ENV": "/none", "_": "under", "HOME": "/elsewhere",
		}
		res, err := c.Run(soon(t), Cmd{Argv: []string{"env", "-0"}, Env: env})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Stderr()).To(BeEmpty())
		got := map[string]string{}
		for entry := range strings.SplitSeq(strings.TrimSuffix(res.Stdout(), "\x00"), "\x00") {
			name, value, _ := strings.Cut(entry, "=")
			got[name] = value
		}
		for name, value := range env {
			g.Expect(got).To(HaveKeyWithValue(name, value))
		}
		g.Expect(got).To(HaveKeyWithValue("NODE", "n"))
		g.Expect(got).NotTo(HaveKey(HavePrefix("_il_")))
		g.Expect(got).NotTo(HaveKey("LANG"))
	})
}

func TestImpossibleCommandsAreRefused(t *testing.T) {
	g := NewWithT(t)
	c := newClient(t, newServer(t).config())
	for want, cmd := range map[string]Cmd{
		"argument 1 contains a NUL byte":                  {Argv: []string{"echo", "a\x00b"}},
		"the script contains a NUL byte":                  {Shell: "echo \x00"},
		"directory contains a NUL byte":                   {Argv: []string{"true"}, Dir: "/\x00"},
		"the value of X contains a NUL byte":              {Argv: []string{"true"}, Env: map[string]string{"X": "\x00"}},
		`"A B" is not a variable name`:                    {Argv: []string{"true"}, Env: map[string]string{"A B": ""}},
		`"1A" is not a variable name`:                     {Argv: []string{"true"}, Env: map[string]string{"1A": ""}},
		"neither Argv nor Shell is set":                   {},
		"both Argv and Shell are set":                     {Argv: []string{"true"}, Shell: "true"},
		"the first word of Argv is empty":                 {Argv: []string{""}},
		"argument 1 has 131072 bytes, Linux passes at mo": {Argv: []string{"echo", strings.Repeat("x", 128<<10)}},
	} {
		_, err := c.Run(soon(t), cmd)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	_, err := c.Run(soon(t), Cmd{Argv: []string{"echo", strings.Repeat("x", 1<<20)}})
	g.Expect(errors.Is(err, syscall.E2BIG)).To(BeTrue())
	g.Expect(len(err.Error())).To(BeNumerically("<", 1000))
}

func TestLongArguments(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, _ string) {
		g := NewWithT(t)
		argv := []string{"sh", "-c", `printf '%s\n' "$#" && cat && printf '%s' "$@"`, "sh"}
		var want strings.Builder
		for i := range 10 {
			arg := strings.Repeat(fmt.Sprintf("%d'\n", i), 34000)
			argv = append(argv, arg)
			want.WriteString(arg)
		}
		res, err := c.Run(soon(t), Cmd{Argv: argv, Stdin: strings.NewReader("the input\n")})
		g.Expect(err).NotTo(HaveOccurred())
		if res.Stdout() != "10\nthe input\n"+want.String() { // not Equal: its message would be a megabyte
			t.Error(shorten(res.Stdout()+res.Stderr(), 500))
		}

		huge := []string{"true"}
		for range 40 {
			huge = append(huge, strings.Repeat("x", 120<<10))
		}
		_, err = c.Run(soon(t), Cmd{Argv: huge})
		g.Expect(errors.Is(err, syscall.E2BIG)).To(BeTrue(), "%v", err)
		g.Expect(err).To(MatchError(ContainSubstring("pass the data through Stdin or a file")))
	})
}

func TestStreams(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, _ string) {
		g := NewWithT(t)
		data := make([]byte, 10<<20)
		source := rand.NewChaCha8([32]byte{1})
		_, _ = source.Read(data)
		var live bytes.Buffer
		res, err := c.Run(soon(t), Cmd{Argv: []string{"sh", "-c", "tee /dev/stderr"}, Stdin: bytes.NewReader(data), Stdout: &live})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(bytes.Equal(res.StdoutBytes(), data)).To(BeTrue())
		g.Expect(bytes.Equal(res.StderrBytes(), data)).To(BeTrue())
		g.Expect(bytes.Equal(live.Bytes(), data)).To(BeTrue())

		res, err = c.Run(soon(t), Cmd{Argv: []string{"true"}, Stdin: bytes.NewReader(data)})
		g.Expect(err).NotTo(HaveOccurred(), "a program need not read its input")
		g.Expect(res.ExitCode()).To(Equal(0))

		res, err = c.Run(soon(t), Cmd{Shell: "head -c 100000 /dev/zero; echo e >&2", MaxOutput: 1000})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.StdoutBytes()).To(HaveLen(1000))
		g.Expect(res.Truncated()).To(BeTrue())

		_, err = c.Run(soon(t), Cmd{Argv: []string{"cat"}, Stdin: io.MultiReader(strings.NewReader("x"), badReader{})})
		g.Expect(err).To(MatchError(ContainSubstring("read the command's Stdin: bad disk")))
	})
}

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, errors.New("bad disk") }

func TestShell(t *testing.T) {
	each(t, func(t *testing.T, c *Client, _ string) {
		g := NewWithT(t)
		res, err := c.Run(soon(t), Cmd{Shell: "set -o pipefail; false | true"})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.ExitCode()).To(Equal(1), "bash is used where there is one")
		g.Expect(res.Argv()).To(Equal([]string{"sh", "-c", "set -o pipefail; false | true"}))
		g.Expect(res.GomegaString()).To(HavePrefix("set -o pipefail; false | true\nexit code 1 after "))
	})
}

func TestBackgroundChildDoesNotHoldUpTheResult(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		began := time.Now()
		res, err := c.Run(soon(t), Cmd{Shell: "echo one; (sleep 0.1; echo two; exec sleep 30) & echo $! >'" + home + "/quiet'; exit 3"})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.ExitCode()).To(Equal(3))
		g.Expect(res.Stdout()).To(HavePrefix("one\n"), "what the child says soon after is taken too, on a machine that is not busy")
		g.Expect(time.Since(began)).To(BeNumerically("<", 25*time.Second), "before the child ends")

		res, err = c.Run(soon(t), Cmd{Shell: "(while echo x; do sleep 0.05; done) & echo $! >'" + home + "/chatty'"})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Stdout()).NotTo(BeEmpty(), "and one that never ends is cut off")
		_, err = c.Run(soon(t), Cmd{Shell: "cd '" + home + "'; kill $(cat quiet chatty)"})
		g.Expect(err).NotTo(HaveOccurred())
	})
}

func TestOutputWrittenJustBeforeTheExitIsComplete(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, _ string) {
		for range 5 {
			res, err := c.Run(soon(t), Cmd{Shell: "sleep 30 & head -c 3000000 /dev/zero; kill $!"})
			if err != nil || len(res.StdoutBytes()) != 3000000 {
				t.Fatalf("%v: %d bytes", err, len(res.StdoutBytes()))
			}
		}
	})
}

// slowWriter needs longer for a write than a guest may be quiet.
type slowWriter struct {
	bytes.Buffer
	each time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	<-time.After(w.each)
	return w.Buffer.Write(p)
}

func TestSlowSinkLosesNothing(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]time.Duration{"steady": 40 * time.Millisecond, "very slow": quietTime + 50*time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newClient(t, newServer(t).config())
			sink := &slowWriter{each: each}
			res, err := c.Run(soon(t), Cmd{Shell: "sleep 20 & head -c 300000 /dev/zero", Stdout: sink})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.StdoutBytes()).To(HaveLen(300000))
			g.Expect(sink.Len()).To(Equal(300000))
		})
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, _ string) {
		g := NewWithT(t)
		var wg sync.WaitGroup
		errs := make([]error, 50)
		for i := range errs {
			wg.Go(func() {
				res, err := c.Run(soon(t), Cmd{Shell: fmt.Sprintf("sleep 0.2; echo %d; exit %d", i, i)})
				if err == nil && (res.ExitCode() != i || res.Stdout() != fmt.Sprintln(i)) {
					err = fmt.Errorf("%d: %s", i, res.GomegaString())
				}
				errs[i] = err
			})
		}
		wg.Wait()
		g.Expect(errors.Join(errs...)).NotTo(HaveOccurred())
	})
}

func TestObserve(t *testing.T) {
	g := NewWithT(t)
	cfg := newServer(t).config()
	events := make(chan Event, 10)
	cfg.Observe = func(e Event) { events <- e }
	c := newClient(t, cfg)
	_, err := c.Run(soon(t), Cmd{Argv: []string{"sh", "-c", "echo out; echo err >&2; exit 4"}, Dir: "/"})
	g.Expect(err).NotTo(HaveOccurred())
	e := <-events
	g.Expect(e.Kind).To(Equal("exec"))
	g.Expect(e.Node).To(Equal("alice"))
	g.Expect(e.Detail).To(Equal("sh -c 'echo out; echo err >&2; exit 4'"))
	g.Expect([]any{e.ExitCode, e.Stdout, e.Stderr, e.Dir, e.Err}).To(Equal([]any{4, "out\n", "err\n", "/", nil}))
	g.Expect(e.Duration).To(BeNumerically(">", 0))
	p, err := c.Start(soon(t), Cmd{Argv: []string{"true"}})
	g.Expect(err).NotTo(HaveOccurred())
	<-p.Done()
	g.Expect((<-events).Kind).To(Equal("start"))
	g.Expect(c.WriteFile(context.Background(), "f", []byte("abc"), 0o600)).To(Succeed())
	e = <-events
	g.Expect(e.Kind + " " + e.Detail).To(Equal("write f (3 bytes)"))
}
