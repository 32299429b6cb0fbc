package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"ionlab/internal/poll"
)

// mirror serves one file, with the faults that a test asks for, and notes the ranges asked for.
type mirror struct {
	*httptest.Server
	content []byte

	mu       sync.Mutex
	ranges   []string
	cut      []int // the next answers end after so many bytes
	status   int   // if not 0, the only answer
	noRanges bool
	hold     chan struct{} // if not nil, an answer waits for it after its first half
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{content: bytes.Repeat([]byte("0123456789abcdef"), 64<<10)}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.ranges = append(m.ranges, r.Header.Get("Range"))
	cut := -1
	if len(m.cut) > 0 {
		cut, m.cut = m.cut[0], m.cut[1:]
	}
	status, hold := m.status, m.hold
	if m.noRanges {
		r.Header.Del("Range")
	}
	m.mu.Unlock()
	switch {
	case status != 0:
		http.Error(w, "no", status)
	case cut >= 0:
		w.Header().Set("Content-Length", fmt.Sprint(len(m.content)))
		_, _ = w.Write(m.content[:cut])
	case hold != nil:
		w.Header().Set("Content-Length", fmt.Sprint(len(m.content)))
		_, _ = w.Write(m.content[:len(m.content)/2])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.content))
	}
}

func (m *mirror) sha256() string {
	sum := sha256.Sum256(m.content)
	return "sha256=" + hex.EncodeToString(sum[:])
}

func (m *mirror) asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.ranges...)
}

// part is where the store keeps what has arrived of the mirror's file.
func part(s *Store, fragment string) string {
	return s.downloadPath(refKey(KindDownload, strings.Replace(fragment, "=", ":", 1)))
}

func TestDownload(t *testing.T) {
	g := NewWithT(t)
	var last Event
	s, _ := newStore(t, func(c *Config) {
		c.Progress = func(e Event) {
			if e.Stage == "download" {
				last = e
			}
		}
	})
	m := newMirror(t)
	img := ensure(t, s, m.URL+"/disk.img#"+m.sha256(), "jq")
	g.Expect(os.ReadFile(img.Disk)).To(Equal(m.content))
	g.Expect(img.PackagesBaked).To(BeFalse())
	g.Expect(last).To(And(HaveField("Done", int64(len(m.content))), HaveField("Total", int64(len(m.content)))))
	ensure(t, s, m.URL+"/disk.img#"+m.sha256())
	g.Expect(m.asked()).To(HaveLen(1), "a present image needs no network")
	g.Expect(part(s, m.sha256())).NotTo(BeAnExistingFile())

	sum := sha512.Sum512(m.content)
	by512, err := s.Pull(t.Context(), m.URL+"/disk.img#sha512="+hex.EncodeToString(sum[:]))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(by512.Close()).To(Succeed())
	g.Expect(by512.Digest).To(Equal(img.Digest))
	_, err = s.Pull(t.Context(), "debian-12")
	g.Expect(err).To(MatchError(ContainSubstring("is not downloaded (recipe): use labtest image build debian-12")))
}

func TestDownloadGoesOnWhereItBroke(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	m := newMirror(t)
	m.cut = []int{300_000}
	img := ensure(t, s, m.URL+"/disk.img#"+m.sha256())
	g.Expect(os.ReadFile(img.Disk)).To(Equal(m.content))
	g.Expect(m.asked()).To(HaveLen(2))
	g.Expect(m.asked()[1]).To(MatchRegexp(`^bytes=[1-9]\d*-$`))
}

func TestDownloadTakesUpWhatAnEarlierRunLeft(t *testing.T) {
	for name, c := range map[string]struct {
		left     func(content []byte) []byte
		noRanges bool
		asks     []string
	}{
		"a part":                {left: func(c []byte) []byte { return c[:1000] }, asks: []string{"bytes=1000-"}},
		"server without ranges": {left: func(c []byte) []byte { return c[:1000] }, noRanges: true, asks: []string{"bytes=1000-"}},
		"all of it":             {left: func(c []byte) []byte { return c }, asks: []string{"bytes=1048576-"}},
		"part of another file":  {left: func([]byte) []byte { return []byte("something else") }, asks: []string{"bytes=14-", ""}},
		"more than the file":    {left: func(c []byte) []byte { return append(c[:len(c):len(c)], "more"...) }, asks: []string{"bytes=1048580-", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s, _ := newStore(t, nil)
			m := newMirror(t)
			m.noRanges = c.noRanges
			g.Expect(os.WriteFile(part(s, m.sha256()), c.left(m.content), 0o600)).To(Succeed())
			img := ensure(t, s, m.URL+"/disk.img#"+m.sha256())
			g.Expect(os.ReadFile(img.Disk)).To(Equal(m.content))
			g.Expect(m.asked()).To(Equal(c.asks))
		})
	}
}

func TestAWrongDigestIsToldAndTheFileRemoved(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	m := newMirror(t)
	want := "sha256=" + strings.Repeat("ab", 32)
	_, err := s.Ensure(t.Context(), Request{Name: m.URL + "/disk.img#" + want})
	g.Expect(err).To(MatchError(ContainSubstring("the file has digest " + strings.Replace(m.sha256(), "=", ":", 1))))
	g.Expect(err).To(MatchError(ContainSubstring("says sha256:" + strings.Repeat("ab", 32))))
	g.Expect(part(s, want)).NotTo(BeAnExistingFile())
	g.Expect(m.asked()).To(HaveLen(1), "asking again would not help")
	g.Expect(present(t, s)).To(BeEmpty())
}

func TestAnswersThatSayNo(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusNotFound:           "the server answered 404 Not Found; the publisher has withdrawn it: name a newer build in your own catalog (/c.yaml)",
		http.StatusForbidden:          "the server answered 403 Forbidden; fetch the file elsewhere and run: labtest image import FILE --name ubuntu-22.04-cloudimg; or name a mirror in your own catalog (/c.yaml); or set HTTPS_PROXY",
		http.StatusServiceUnavailable: "the server answered 503 Service Unavailable; fetch the file elsewhere",
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			g := NewWithT(t)
			s, _ := newStore(t, func(c *Config) { c.Catalog = "/c.yaml" })
			m := newMirror(t)
			m.status = status
			for i := range s.entries {
				if s.entries[i].Name == "ubuntu-22.04-cloudimg" {
					s.entries[i].URL = m.URL + "/disk.img"
				}
			}
			_, err := s.Ensure(t.Context(), Request{Name: "ubuntu-22.04-cloudimg"})
			g.Expect(err).To(MatchError(ContainSubstring("download " + m.URL + "/disk.img: ")))
			g.Expect(err).To(MatchError(ContainSubstring(want)))
		})
	}
}

func TestNoWayOut(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	url := "http://" + l.Addr().String() + "/disk.img"
	g.Expect(l.Close()).To(Succeed())
	_, err = s.Ensure(t.Context(), Request{Name: url + "#sha256=" + strings.Repeat("ab", 32)})
	g.Expect(err).To(MatchError(ContainSubstring("download " + url + ": dial tcp ")))
	g.Expect(err).To(MatchError(ContainSubstring("connection refused; fetch the file elsewhere and run: labtest image import FILE --name NAME; or name a mirror in your own catalog; or set HTTPS_PROXY")))
}

func TestACancelledDownloadIsKept(t *testing.T) {
	g := NewWithT(t)
	m := newMirror(t)
	m.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, _ := newStore(t, nil)
	running := goleak.IgnoreCurrent()
	go func() { // the first half is less than a chunk, so no event comes for it
		defer cancel()
		_ = poll.Until(ctx, time.Millisecond, func(context.Context) error {
			if st, err := os.Stat(part(s, m.sha256())); err != nil || st.Size() < int64(len(m.content)/2) {
				return errors.New("the first half has not arrived")
			}
			return nil
		})
	}()
	_, err := s.Ensure(ctx, Request{Name: m.URL + "/disk.img#" + m.sha256()})
	g.Expect(err).To(MatchError(context.Canceled))
	g.Expect(part(s, m.sha256())).To(BeAnExistingFile())
	m.mu.Lock()
	close(m.hold)
	m.hold = nil
	m.mu.Unlock()
	ensure(t, s, m.URL+"/disk.img#"+m.sha256())
	g.Expect(m.asked()[1]).To(Equal("bytes=524288-"))
	m.CloseClientConnections()
	goleak.VerifyNone(t, running)
}

func TestURLsNeedADigest(t *testing.T) {
	s, _ := newStore(t, nil)
	for name, want := range map[string]string{
		"https://h/disk.img":                                  "a URL needs the digest of its file: append #sha256=",
		"https://h/disk.img#sha256=12":                        "a URL needs the digest of its file",
		"https://h/disk.img#md5=12":                           "a URL needs the digest of its file",
		"ftp://h/disk.img#sha256=" + strings.Repeat("ab", 32): "only http and https can be downloaded",
	} {
		_, err := s.Ensure(t.Context(), Request{Name: name})
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)), name)
	}
}

func TestAToolIsMissedBeforeTheDownload(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	tools.absent = map[string]bool{"qemu-img": true}
	m := newMirror(t)
	_, err := s.Ensure(t.Context(), Request{Name: m.URL + "/disk.img#" + m.sha256()})
	g.Expect(err).To(MatchError(ContainSubstring("qemu-img is not installed")))
	g.Expect(m.asked()).To(BeEmpty())
	g.Expect(filepath.Dir(part(s, m.sha256()))).To(BeADirectory())
}
