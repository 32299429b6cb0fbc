package guest

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// request asks sshd to run the command, then feeds its input.
func (p *Process) request() {
	ok, err := p.ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{p.launch.line}))
	switch {
	case err != nil: // The channel is closed, or the connection lost: supervise knows which, and the exit status.
	case !ok:
		p.refused <- errors.New("sshd refused to run a command (an account without a shell?)")
	default:
		p.feed()
	}
}

// feed writes the launcher's input and then the program's. A program that ends without reading it all is no error.
func (p *Process) feed() {
	if _, err := io.WriteString(p.ch, p.launch.input); err != nil {
		return
	}
	if p.cmd.Stdin == nil {
		_ = p.ch.CloseWrite()
		return
	}
	// Not one of the client's goroutines: the user's reader may block for ever, and must not hold up Close.
	go func() {
		in := &inputReader{Reader: p.cmd.Stdin}
		_, _ = io.Copy(p.ch, in)
		if in.err != nil {
			p.mu.Lock()
			p.inputErr = fmt.Errorf("read the command's Stdin: %w", in.err)
			p.mu.Unlock()
		}
		_ = p.ch.CloseWrite()
	}()
}

// inputReader tells an error of reading from one of writing.
type inputReader struct {
	io.Reader
	err error
}

func (r *inputReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// readStdout passes on the standard output.
func (p *Process) readStdout() { p.pump(p.ch.Channel, p.out, p.out.write) }

// readStderr takes the launcher's message and passes on the rest.
func (p *Process) readStderr() {
	first := announcement{mark: p.launch.mark}
	p.pump(p.ch.Stderr(), p.err, func(data []byte) {
		msg, rest := first.feed(data)
		if msg != nil {
			p.mu.Lock()
			p.message = *msg
			p.mu.Unlock()
			close(p.announced)
		}
		if len(rest) > 0 {
			p.err.write(rest)
		}
	})
	p.preamble = first.pending()
}

// pump reads until the end of the stream.
func (p *Process) pump(r io.Reader, s *stream, write func([]byte)) {
	defer s.setBusy(false)
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		s.setBusy(true)
		if n > 0 {
			write(buf[:n])
			select {
			case p.activity <- struct{}{}:
			default:
			}
		}
		if err != nil {
			return
		}
		s.setBusy(false)
	}
}

// readRequests takes the exit status, in whatever order it comes with the end of the output.
func (p *Process) readRequests() {
	for req := range p.ch.reqs {
		switch req.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(req.Payload, &m) == nil {
				p.putStatus(exit{code: int(m.Status)})
			}
		case "exit-signal":
			// RFC 4254, 6.10: the name comes first; whether a core was dumped and a message do not matter here.
			var m struct {
				Signal string
				Rest   []byte `ssh:"rest"`
			}
			if ssh.Unmarshal(req.Payload, &m) == nil {
				p.putStatus(signalExit(m.Signal))
			}
		}
		_ = req.Reply(false, nil)
	}
	p.cutOff = p.ch.conn.wire.lost.Load()
	close(p.closed)
	p.client.ended(p.ch.conn)
}

// putStatus keeps the first status: a second one would contradict it.
func (p *Process) putStatus(e exit) {
	select {
	case p.status <- e:
	default:
	}
}

// closeChannel gives up the channel. Closing may have to wait for a guest that does not read.
func (p *Process) closeChannel() {
	p.client.wg.Go(func() { _ = p.ch.Close() })
}

// signalExit translates sshd's signal name.
func signalExit(name string) exit {
	for sig := syscall.Signal(1); sig < 32; sig++ {
		if sshSignal(sig) == name {
			return exit{code: 128 + int(sig), signal: "SIG" + name}
		}
	}
	return exit{code: 128, signal: "unknown signal"}
}

// sshSignal is the name that RFC 4254, 6.10 gives a signal, or "".
func sshSignal(sig syscall.Signal) string {
	switch sig {
	case syscall.SIGABRT:
		return string(ssh.SIGABRT)
	case syscall.SIGALRM:
		return string(ssh.SIGALRM)
	case syscall.SIGFPE:
		return string(ssh.SIGFPE)
	case syscall.SIGHUP:
		return string(ssh.SIGHUP)
	case syscall.SIGILL:
		return string(ssh.SIGILL)
	case syscall.SIGINT:
		return string(ssh.SIGINT)
	case syscall.SIGKILL:
		return string(ssh.SIGKILL)
	case syscall.SIGPIPE:
		return string(ssh.SIGPIPE)
	case syscall.SIGQUIT:
		return string(ssh.SIGQUIT)
	case syscall.SIGSEGV:
		return string(ssh.SIGSEGV)
	case syscall.SIGTERM:
		return string(ssh.SIGTERM)
	case syscall.SIGUSR1:
		return string(ssh.SIGUSR1)
	case syscall.SIGUSR2:
		return string(ssh.SIGUSR2)
	}
	return ""
}
