package capture

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	. "github.com/onsi/gomega"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

var twoLinks = Header{Comment: "network wan of lab two-sites", Interfaces: []Interface{{Name: "alice@wan", Description: "10.81.0.10"}, {Name: "bob@wan"}}}

func ethernet(n int) []byte {
	return append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb6}, bytes.Repeat([]byte{'x'}, n-14)...)
}

// packet is what a file says about one.
type packet struct {
	at        time.Time
	iface     string
	direction pcapgo.NgEpbFlag
	length    int
	data      []byte
	comments  []string
}

// reread takes a file apart by a reader that is not ours.
func reread(t *testing.T, file []byte) ([]packet, *pcapgo.NgReader) {
	t.Helper()
	g := NewWithT(t)
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	g.Expect(err).NotTo(HaveOccurred())
	var packets []packet
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return packets, r
		}
		g.Expect(err).NotTo(HaveOccurred())
		iface, err := r.Interface(info.InterfaceIndex)
		g.Expect(err).NotTo(HaveOccurred())
		p := packet{at: info.Timestamp, iface: iface.Name, length: info.Length, data: data, comments: options.Comments}
		if options.Flags != nil {
			p.direction = options.Flags.Direction
		}
		packets = append(packets, p)
	}
}

func TestAFileSaysWhatWasSeenWhereAndWhen(t *testing.T) {
	g := NewWithT(t)
	var file bytes.Buffer
	w, err := NewWriter(&file, twoLinks)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Frame(Frame{At: noon, Interface: 0, Direction: Outbound, Data: ethernet(61)})).To(Succeed())
	g.Expect(w.Comment(noon.Add(1), "By: the link goes down")).To(Succeed())
	g.Expect(w.Frame(Frame{At: noon.Add(2), Interface: 1, Direction: Inbound, Length: 1514, Data: ethernet(100)})).To(Succeed())
	g.Expect(w.Close([]Statistics{{Began: noon, Ended: noon.Add(time.Second), Received: 5, Dropped: 4}, {Began: noon, Ended: noon, Received: 1}})).To(Succeed())
	g.Expect(w.Size()).To(BeEquivalentTo(file.Len()))

	packets, r := reread(t, file.Bytes())
	g.Expect(packets).To(HaveLen(3))
	g.Expect(packets[0]).To(Equal(packet{at: noon, iface: "alice@wan", direction: pcapgo.NgEpbFlagDirectionOutbound, length: 61, data: ethernet(61)}))
	g.Expect(packets[1].iface).To(Equal("comments"))
	g.Expect(packets[1].comments).To(Equal([]string{"By: the link goes down"}))
	g.Expect(string(packets[1].data[14:])).To(Equal("By: the link goes down"))
	g.Expect(packets[2]).To(Equal(packet{at: noon.Add(2), iface: "bob@wan", direction: pcapgo.NgEpbFlagDirectionInbound, length: 1514, data: ethernet(100)}))
	g.Expect(r.SectionInfo().Comment).To(Equal("network wan of lab two-sites"))
	g.Expect(r.SectionInfo().Application).To(Equal("ionlab"))
	alice, err := r.Interface(0)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(alice.Description).To(Equal("10.81.0.10"))
	g.Expect(alice.LinkType).To(Equal(layers.LinkTypeEthernet))
	g.Expect(alice.Statistics.PacketsReceived).To(BeEquivalentTo(5))
	g.Expect(alice.Statistics.PacketsDropped).To(BeEquivalentTo(4))
	g.Expect(alice.Statistics.EndTime).To(BeTemporally("==", noon.Add(time.Second)))
}

func TestSnapLenKeepsTheBeginningOnly(t *testing.T) {
	g := NewWithT(t)
	var file bytes.Buffer
	h := twoLinks
	h.SnapLen = 64
	w, err := NewWriter(&file, h)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Frame(Frame{At: noon, Data: ethernet(1514)})).To(Succeed())
	g.Expect(w.Comment(noon, strings.Repeat("long ", 100))).To(Succeed())
	g.Expect(w.Close(make([]Statistics, 2))).To(Succeed())
	packets, _ := reread(t, file.Bytes())
	g.Expect(packets[0].data).To(Equal(ethernet(64)))
	g.Expect(packets[0].length).To(Equal(1514))
	g.Expect(packets[1].comments).To(Equal([]string{strings.Repeat("long ", 100)}), "a comment is whole")
}

func TestAFileNeverExceedsItsBound(t *testing.T) {
	for _, bound := range []int64{3000, 10_000, 10_001, 10_002, 10_003, 50_000} {
		g := NewWithT(t)
		var file bytes.Buffer
		h := twoLinks
		h.MaxBytes = bound
		w, err := NewWriter(&file, h)
		g.Expect(err).NotTo(HaveOccurred())
		for i := range 100 {
			g.Expect(w.Frame(Frame{At: noon, Interface: i % 2, Data: ethernet(1000)})).To(Succeed())
			g.Expect(w.Comment(noon, strings.Repeat("c", i))).To(Succeed())
		}
		g.Expect(w.Close([]Statistics{{Ended: noon, Received: 50}, {Ended: noon, Received: 50, Dropped: 1}})).To(Succeed())
		g.Expect(file.Len()).To(BeNumerically("<=", bound))
		g.Expect(file.Len()).To(BeNumerically(">", bound-2500), "the room is used")

		packets, r := reread(t, file.Bytes())
		g.Expect(packets[len(packets)-1].comments).To(Equal([]string{"the capture ends here: its file may have " + strconv.FormatInt(bound, 10) + " bytes"}))
		frames := 0
		for _, p := range packets {
			if p.iface != commentsName {
				frames++
			}
		}
		alice, _ := r.Interface(0)
		bob, _ := r.Interface(1)
		g.Expect(alice.Statistics.PacketsDropped + bob.Statistics.PacketsDropped).To(BeEquivalentTo(100 - frames + 1))
	}
}

func TestOversizedAndBrokenCommentsAreMadeToFit(t *testing.T) {
	g := NewWithT(t)
	var file bytes.Buffer
	h := twoLinks
	h.Comment = strings.Repeat("x", 1<<17)
	w, err := NewWriter(&file, h)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Comment(noon, strings.Repeat("é", 1<<16))).To(Succeed())
	g.Expect(w.Comment(noon, "bad \xff byte")).To(Succeed())
	g.Expect(w.Close(make([]Statistics, 2))).To(Succeed())
	packets, _ := reread(t, file.Bytes())
	g.Expect(len(packets[0].comments[0])).To(BeNumerically("~", maxComment, 4))
	g.Expect(packets[1].comments).To(Equal([]string{"bad \uFFFD byte"}))
	g.Expect(bounded(strings.Repeat("a\xff", maxComment))).To(And(HavePrefix("a\uFFFDa"), Satisfy(utf8.ValidString)))
	g.Expect(len(bounded(strings.Repeat("a\xff", maxComment)))).To(BeNumerically("<=", maxComment), "replacements count")
}

// fullDisk takes some bytes and then fails.
type fullDisk struct{ room int }

var errFull = errors.New("no space left on device")

func (d *fullDisk) Write(b []byte) (int, error) {
	if len(b) > d.room {
		return 0, errFull
	}
	d.room -= len(b)
	return len(b), nil
}

func TestAFailingWriterIsReported(t *testing.T) {
	g := NewWithT(t)
	w, err := NewWriter(&fullDisk{room: fileBuffer}, twoLinks)
	g.Expect(err).NotTo(HaveOccurred())
	for err == nil && w.Size() < 4*fileBuffer {
		err = w.Frame(Frame{At: noon, Data: ethernet(1514)})
	}
	g.Expect(err).To(MatchError(errFull))
	g.Expect(err).To(MatchError("write to the capture file: no space left on device"))
	g.Expect(w.Close(make([]Statistics, 2))).To(MatchError(errFull))

	w, err = NewWriter(&fullDisk{}, twoLinks)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Flush()).To(MatchError(errFull))
}

func TestAFileNeedsAnInterface(t *testing.T) {
	g := NewWithT(t)
	_, err := NewWriter(io.Discard, Header{})
	g.Expect(err).To(MatchError("begin a capture file: no interface, want at least one"))
}
