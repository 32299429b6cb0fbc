package guest

import (
	"bytes"
	"io"
	"sync"
)

// tailSize is how much of the end of each stream is kept for messages.
const tailSize = 2 << 10

// stream receives one output stream of a command: it keeps the beginning, up to a limit, and the last bytes, and
// forwards all of it to a sink.
type stream struct {
	mu        sync.Mutex
	sink      io.Writer // nil when there is none, or when it must not be called any more
	limit     int64
	kept      bytes.Buffer
	tail      []byte
	total     int64
	truncated bool
	busy      bool // output is being handled; false while the reader waits for more
}

func newStream(sink io.Writer, limit int64) *stream {
	if limit <= 0 {
		limit = defaultMaxOutput
	}
	return &stream{sink: sink, limit: limit}
}

// write takes over more output. It blocks while the sink does.
func (s *stream) write(p []byte) {
	sink := s.keep(p)
	if sink == nil {
		return
	}
	if _, err := sink.Write(p); err != nil {
		s.detach()
	}
}

// keep takes over output and returns the sink, nil if it must not be called.
func (s *stream) keep(p []byte) io.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += int64(len(p))
	s.tail = append(s.tail, p...)
	if extra := len(s.tail) - tailSize; extra > 0 {
		s.tail = append(s.tail[:0], s.tail[extra:]...)
	}
	room := min(s.limit-int64(s.kept.Len()), int64(len(p)))
	s.kept.Write(p[:room])
	s.truncated = s.truncated || room < int64(len(p))
	return s.sink
}

// setBusy notes whether the stream's reader is handling output, or waiting for more.
func (s *stream) setBusy(busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = busy
}

// detach stops the forwarding, for good. It does not wait for a sink that blocks.
func (s *stream) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink = nil
}

// progress returns how many bytes have come so far and whether some is still being handled.
func (s *stream) progress() (total int64, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, s.busy
}

// last returns the end of the output, for a message.
func (s *stream) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(bytes.TrimSpace(s.tail))
}

// content returns what was kept and whether that is less than what came.
func (s *stream) content() (data []byte, truncated bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.kept.Bytes()), s.truncated
}

// maxPreamble bounds what may come on stderr before the launcher's message: warnings of the login shell.
const maxPreamble = 64 << 10

// announcement finds the launcher's message at the start of stderr.
type announcement struct {
	mark string
	buf  []byte
	done bool
}

// message is what the launcher said: the process id, or the failed stage and why.
type message struct {
	pid    string
	failed *LaunchError
}

// feed takes over output until the message is complete. It returns the message once, and the output behind it.
func (a *announcement) feed(p []byte) (msg *message, rest []byte) {
	if a.done {
		return nil, p
	}
	a.buf = append(a.buf, p...)
	start := bytes.Index(a.buf, []byte(a.mark))
	if start < 0 {
		if len(a.buf) > maxPreamble {
			a.buf = append(a.buf[:0], a.buf[len(a.buf)-maxPreamble/2:]...)
		}
		return nil, nil
	}
	body := a.buf[start+len(a.mark):]
	end := bytes.Index(body, []byte("\x00\n"))
	if end < 0 {
		return nil, nil
	}
	a.done = true
	rest = body[end+2:]
	a.buf = nil
	text := body[:end]
	if len(text) > 0 && text[0] == '!' {
		stage, detail, _ := bytes.Cut(text[1:], []byte(":"))
		return &message{failed: &LaunchError{Stage: string(stage), Detail: string(bytes.TrimSpace(detail))}}, rest
	}
	return &message{pid: string(text)}, rest
}

// pending is what came without a message, for the case that none ever comes.
func (a *announcement) pending() string { return string(bytes.TrimSpace(a.buf)) }
