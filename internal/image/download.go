package image

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"ionlab/internal/poll"
)

// Bounds of a download: how long a server may take to accept a connection, to answer and to send something more; when a broken
// transfer is taken up again, and how often.
const (
	connectWithin = 20 * time.Second
	answerWithin  = 60 * time.Second
	silenceLimit  = 60 * time.Second
	retryAfter    = time.Second
	downloadTries = 10
)

func defaultClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectWithin}).DialContext,
		TLSHandshakeTimeout:   connectWithin,
		ResponseHeaderTimeout: answerWithin,
		ForceAttemptHTTP2:     true,
		DisableKeepAlives:     true, // one file from one host: nothing to reuse, and nothing left open
	}}
}

// downloadSource has a disk from a URL. The digest alone is its key: mirrors of one file are one image.
func (s *Store) downloadSource(name, from, digest, firmware string) source {
	key := refKey(KindDownload, digest)
	return source{
		name: name, kind: KindDownload, key: key, doing: "downloading " + from,
		make: func(ctx context.Context, w *workspace, rep *reporter) (filled, error) {
			if err := s.need("qemu-img"); err != nil { // rather now than after the download
				return filled{}, err
			}
			d := &download{url: from, digest: digest, part: s.downloadPath(key), http: s.http, rep: rep, retry: s.retry}
			if err := d.fetch(ctx); err != nil {
				return filled{}, s.explain(err, name, from)
			}
			f, err := s.adopt(ctx, d.part, w, firmware, func(info diskInfo, disk string) error {
				if info.Format == "qcow2" {
					return os.Rename(d.part, disk)
				}
				argv := []string{"qemu-img", "convert", "-f", info.Format, "-O", "qcow2", d.part, disk}
				return errors.Join(s.run.Run(ctx, command{Argv: argv}), os.Remove(d.part))
			})
			f.source = from
			return f, err
		},
	}
}

// download is one file on its way. What has arrived is kept between runs and taken up again, also from another mirror: whether
// the parts belong together is the digest's to say.
type download struct {
	url, digest, part string
	http              *http.Client
	rep               *reporter
	retry             time.Duration

	file    *os.File
	sum     hash.Hash
	have    int64 // bytes in the file, and in sum
	resumed bool
}

// refusedError is an answer that asking again does not change.
type refusedError struct {
	code   int
	status string
}

func (e *refusedError) Error() string { return "the server answered " + e.status }

// digestError says that a file is not what it should be; the file is gone.
type digestError struct{ want, got string }

func (e *digestError) Error() string {
	return fmt.Sprintf("the file has digest %s, the catalog or URL says %s; what was downloaded is removed", e.got, e.want)
}

// fetch brings the whole file to d.part, with the right digest.
func (d *download) fetch(ctx context.Context) (err error) {
	if err := d.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.file.Close()) }()
	tries := 0
	err = poll.Until(ctx, d.retry, func(ctx context.Context) error {
		before := d.have
		err := d.attempt(ctx)
		if err == nil {
			err = d.verify()
		}
		var refused *refusedError
		var wrong *digestError
		tries++
		hopeless := errors.As(err, &refused) || errors.As(err, &wrong) || tries >= downloadTries || d.have <= before && !d.resumed
		if err != nil && hopeless {
			return poll.Stop(err)
		}
		return err
	})
	var wrong *digestError
	if errors.As(err, &wrong) {
		return errors.Join(err, ignoreAbsent(os.Remove(d.part)))
	}
	return err
}

// open takes up what an earlier run left.
func (d *download) open(ctx context.Context) (err error) {
	if d.file, err = os.OpenFile(d.part, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if err := d.reset(); err != nil {
		return err
	}
	d.have, err = copyChunks(ctx, d.sum, d.file, func(int64) {})
	d.resumed = d.have > 0
	return err
}

func (d *download) reset() error {
	d.have, d.resumed = 0, false
	if d.sum = sha256.New(); strings.HasPrefix(d.digest, "sha512:") {
		d.sum = sha512.New()
	}
	_, err := d.file.Seek(0, io.SeekStart)
	return err
}

func (d *download) startOver() error {
	return errors.Join(d.file.Truncate(0), d.reset())
}

// attempt asks for what is missing, and appends it.
func (d *download) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := fmt.Errorf("the server sent nothing for %s", silenceLimit)
	watchdog := time.AfterFunc(connectWithin+answerWithin+silenceLimit, func() { cancel(silent) })
	defer watchdog.Stop()

	body, total, err := d.request(ctx)
	if err != nil {
		return errors.Join(err, causeOf(ctx, silent))
	}
	defer closeQuietly(body)
	_, err = copyChunks(ctx, io.MultiWriter(d.file, d.sum, countTo{&d.have}), &fed{body, watchdog}, func(int64) {
		d.rep.bytes("download", d.have, total)
	})
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", d.have, total, errors.Join(err, causeOf(ctx, silent)))
	}
	return nil
}

// request sends the request and returns the rest of the file, with the size of the whole (0 if not known).
func (d *download) request(ctx context.Context) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	if d.have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.have))
	}
	resp, err := d.http.Do(req)
	var told *url.Error
	if errors.As(err, &told) {
		err = told.Err // the caller names the URL
	}
	if err != nil {
		return nil, 0, err
	}
	starts := fmt.Sprintf("bytes %d-", d.have)
	switch {
	case resp.StatusCode == http.StatusOK:
		if err := d.startOver(); err != nil {
			return nil, 0, errors.Join(err, resp.Body.Close())
		}
		return resp.Body, max(resp.ContentLength, 0), nil
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), starts):
		return resp.Body, d.have + max(resp.ContentLength, 0), nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable || resp.StatusCode == http.StatusPartialContent:
		// Nothing is missing, says the server; verify finds out.
		return http.NoBody, d.have, resp.Body.Close()
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return nil, 0, errors.Join(fmt.Errorf("the server answered %s", resp.Status), resp.Body.Close())
	default:
		return nil, 0, errors.Join(&refusedError{resp.StatusCode, resp.Status}, resp.Body.Close())
	}
}

// verify compares the digest. A file put together of an old part and a new one gets another chance, from the start.
func (d *download) verify() error {
	algorithm, _, _ := strings.Cut(d.digest, ":")
	got := algorithm + ":" + hex.EncodeToString(d.sum.Sum(nil))
	if got == d.digest {
		return nil
	}
	wrong := &digestError{want: d.digest, got: got}
	if !d.resumed {
		return wrong
	}
	if err := d.startOver(); err != nil {
		return errors.Join(wrong, err)
	}
	d.resumed = true // lets fetch go on once more; the next answer is a whole file and clears it
	return errors.New("the part kept from an earlier run does not belong to the file")
}

// causeOf returns the cause by which ctx ended if it is want: the transport reports only "context canceled".
func causeOf(ctx context.Context, want error) error {
	if cause := context.Cause(ctx); errors.Is(cause, want) {
		return cause
	}
	return nil
}

// fed is a body whose every piece puts the watchdog off.
type fed struct {
	io.Reader
	watchdog *time.Timer
}

func (f *fed) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	f.watchdog.Reset(silenceLimit)
	return n, err
}

// countTo adds up what was written.
type countTo struct{ sum *int64 }

func (c countTo) Write(p []byte) (int, error) {
	*c.sum += int64(len(p))
	return len(p), nil
}
