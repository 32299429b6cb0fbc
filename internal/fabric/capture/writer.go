package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Direction is a frame's way as the machine sees it that an interface belongs to.
type Direction uint8

// The directions of a frame.
const (
	// Outbound is what the machine sends.
	Outbound Direction = iota
	// Inbound is what it gets.
	Inbound
)

// Interface describes where frames were seen: a link.
type Interface struct {
	// Name is what Wireshark shows and filters by (frame.interface_name), such as alice@wan.
	Name string
	// Description says more about it; it may be empty.
	Description string
}

// Header is what a file says about itself, and its bounds.
type Header struct {
	// Comment says what was captured; Wireshark shows it among the properties of the file.
	Comment string
	// Interfaces are what frames name by their index. There is at least one.
	Interfaces []Interface
	// SnapLen is how many bytes of each frame are kept at most; 0 keeps all.
	SnapLen int
	// MaxBytes bounds the file; 0 does not. Where it is reached, a comment says so, and further frames are left out.
	MaxBytes int64
}

// Frame is one frame as it was seen.
type Frame struct {
	At        time.Time
	Interface int // an index into Header.Interfaces
	Direction Direction
	// Length is the frame's own, where Data is only its beginning. Less than len(Data), as 0 is, means that Data is all.
	Length int
	Data   []byte
}

// Statistics is what Close notes of an interface. What the file left out for MaxBytes is among what was dropped.
type Statistics struct {
	Began, Ended time.Time
	// Received is how many frames came by, Dropped how many of these are missing from the file.
	Received, Dropped uint64
}

const (
	fileBuffer = 256 << 10
	// maxComment is below what the 16 bits of an option's length can tell.
	maxComment = 32 << 10
	// commentsName is the interface that comments are packets of.
	commentsName = "comments"

	packetBlock     = 32 // without data and options
	flagsOption     = 8
	endOfOptions    = 4
	statisticsBlock = 24 + 4*12 + endOfOptions // four options of eight bytes
	interfaceBlock  = 20 + 64 + endOfOptions   // with the options of the interface for comments
	lastWords       = interfaceBlock + packetBlock + 512
)

// Writer writes one pcapng file. It serves one goroutine.
type Writer struct {
	buffer   *bufio.Writer
	counted  *countingWriter
	ng       *pcapgo.NgWriter
	header   Header
	comments int // the index of the interface for comments, 0 while there is none
	full     bool
	left     []uint64 // by interface: frames left out for MaxBytes
}

// NewWriter begins a file on w, which stays the caller's to close.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if len(h.Interfaces) == 0 {
		return nil, errors.New("begin a capture file: no interface, want at least one")
	}
	counted := &countingWriter{w: w}
	c := &Writer{
		counted: counted, header: h, left: make([]uint64, len(h.Interfaces)),
		buffer: bufio.NewWriterSize(counted, fileBuffer), // The library takes a large enough buffer as its own.
	}
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
		Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "ionlab", Comment: bounded(h.Comment),
	}}
	var err error
	if c.ng, err = pcapgo.NewNgWriterInterface(c.buffer, c.describe(h.Interfaces[0]), options); err != nil {
		return nil, fmt.Errorf("begin a capture file: %w", err)
	}
	for _, i := range h.Interfaces[1:] {
		if _, err = c.ng.AddInterface(c.describe(i)); err != nil {
			return nil, fmt.Errorf("begin a capture file: %w", err)
		}
	}
	return c, nil
}

func (c *Writer) describe(i Interface) pcapgo.NgInterface {
	return pcapgo.NgInterface{
		Name: i.Name, Description: i.Description, LinkType: layers.LinkTypeEthernet, SnapLength: uint32(c.header.SnapLen),
	}
}

// Frame writes f, or counts it as left out where the file has reached its bound. An error is the underlying writer's;
// after one the file is of no use.
func (c *Writer) Frame(f Frame) error {
	info := gopacket.CaptureInfo{Timestamp: f.At, InterfaceIndex: f.Interface, Length: max(f.Length, len(f.Data))}
	data := f.Data
	if c.header.SnapLen > 0 && len(data) > c.header.SnapLen {
		data = data[:c.header.SnapLen]
	}
	info.CaptureLength = len(data)
	if !c.fits(packetBlock + flagsOption + endOfOptions + padded(len(data))) {
		c.left[f.Interface]++
		return c.fill(f.At)
	}
	options := pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound}}
	if f.Direction == Inbound {
		options.Flags.Direction = pcapgo.NgEpbFlagDirectionInbound
	}
	return c.write(info, data, options)
}

// Comment writes text where the frames before at end. Wireshark knows comments only on packets, so it is one: a short
// frame of the EtherType for local experiments (0x88B5, IEEE 802) on an interface of its own, named "comments", that
// carries the text as its payload and as its comment. No protocol's filter finds it; frame.comment does.
func (c *Writer) Comment(at time.Time, text string) error {
	text = bounded(text)
	if !c.fits(c.roomFor(text)) {
		return c.fill(at)
	}
	return c.comment(at, text)
}

func (c *Writer) comment(at time.Time, text string) error {
	if c.comments == 0 {
		var err error
		c.comments, err = c.ng.AddInterface(c.describe(Interface{Name: commentsName, Description: "what the lab has to say, no link"}))
		if err != nil {
			return fmt.Errorf("write to the capture file: %w", err)
		}
	}
	data := append([]byte{2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0x88, 0xb5}, text...)
	info := gopacket.CaptureInfo{Timestamp: at, InterfaceIndex: c.comments, Length: len(data)}
	if c.header.SnapLen > 0 && len(data) > c.header.SnapLen {
		data = data[:c.header.SnapLen]
	}
	info.CaptureLength = len(data)
	return c.write(info, data, pcapgo.NgPacketOptions{Comments: []string{text}})
}

func (c *Writer) roomFor(comment string) int {
	n := packetBlock + padded(14+len(comment)) + 4 + padded(len(comment)) + endOfOptions
	if c.comments == 0 {
		n += interfaceBlock
	}
	return n
}

func (c *Writer) write(info gopacket.CaptureInfo, data []byte, options pcapgo.NgPacketOptions) error {
	if err := c.ng.WritePacketWithOptions(info, data, options); err != nil {
		return fmt.Errorf("write to the capture file: %w", err)
	}
	return nil
}

// fits reports whether n more bytes leave room for what a file ends with.
func (c *Writer) fits(n int) bool {
	if c.full {
		return false
	}
	end := lastWords + statisticsBlock*len(c.header.Interfaces)
	return c.header.MaxBytes == 0 || c.Size()+int64(n+end) <= c.header.MaxBytes
}

// fill notes once that the file has reached its bound.
func (c *Writer) fill(at time.Time) error {
	if c.full {
		return nil
	}
	c.full = true
	return c.comment(at, fmt.Sprintf("the capture ends here: its file may have %d bytes", c.header.MaxBytes))
}

// Size is how many bytes the file has, those not yet flushed included.
func (c *Writer) Size() int64 { return c.counted.n + int64(c.buffer.Buffered()) }

// Flush hands everything written until now to the underlying writer.
func (c *Writer) Flush() error {
	if err := c.buffer.Flush(); err != nil {
		return fmt.Errorf("write to the capture file: %w", err)
	}
	return nil
}

// Close ends the file with the statistics of each interface, in the order of the header, and flushes it.
func (c *Writer) Close(stats []Statistics) error {
	for i, s := range stats {
		err := c.ng.WriteInterfaceStats(i, pcapgo.NgInterfaceStatistics{
			LastUpdate: s.Ended, StartTime: s.Began, EndTime: s.Ended,
			PacketsReceived: s.Received, PacketsDropped: s.Dropped + c.left[i],
		})
		if err != nil {
			return fmt.Errorf("end the capture file: %w", err)
		}
	}
	return c.Flush()
}

// bounded is text as an option can carry it: of a length that fits, and valid UTF-8.
func bounded(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	return strings.ToValidUTF8(text[:min(len(text), maxComment)], "") // Without half a rune at the cut.
}

// padded is n rounded up to the 32 bits that pcapng aligns to.
func padded(n int) int { return (n + 3) &^ 3 }

// countingWriter counts what passes.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
