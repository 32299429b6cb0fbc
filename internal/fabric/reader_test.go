package fabric

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	. "github.com/onsi/gomega"
)

// onWire puts frames behind their lengths.
func onWire(frames ...[]byte) []byte {
	var b []byte
	for _, f := range frames {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

// drain reads to the end and returns what came, and why it ended.
func drain(r *frameReader) (frames [][]byte, err error) {
	defer r.close()
	for {
		var batch []*frame
		batch, err = r.next(nil)
		for _, f := range batch {
			frames = append(frames, bytes.Clone(f.bytes()))
		}
		r.pool.release(batch)
		if err != nil {
			return frames, err
		}
	}
}

func TestReaderCutsFrames(t *testing.T) {
	small, jumbo := bytes.Repeat([]byte{1}, 60), bytes.Repeat([]byte{2}, 9014)
	largest := bytes.Repeat([]byte{3}, maxFrame)
	var many [][]byte
	for i := range 2*maxBatch + 3 {
		many = append(many, bytes.Repeat([]byte{byte(i)}, headerLen+i))
	}
	for _, test := range []struct {
		name   string
		stream []byte
		want   [][]byte
		ends   error
		runts  int
	}{
		{"nothing", nil, nil, io.EOF, 0},
		{"one", onWire(small), [][]byte{small}, io.EOF, 0},
		{"sizes", onWire(small, jumbo, largest, small), [][]byte{small, jumbo, largest, small}, io.EOF, 0},
		{"more than a batch", onWire(many...), many, io.EOF, 0},
		{"short ones", onWire([]byte{1}, small, make([]byte, headerLen-1)), [][]byte{small}, io.EOF, 2},
		{"cut in the length", append(onWire(small), 0, 0), [][]byte{small}, io.ErrUnexpectedEOF, 0},
		{"cut in the frame", onWire(small, jumbo)[:200], [][]byte{small}, io.ErrUnexpectedEOF, 0},
	} {
		for how, src := range map[string]io.Reader{
			"at once":     bytes.NewReader(test.stream),
			"by the byte": iotest.OneByteReader(bytes.NewReader(test.stream)),
			"by halves":   iotest.HalfReader(bytes.NewReader(test.stream)),
			"end with it": iotest.DataErrReader(bytes.NewReader(test.stream)),
		} {
			t.Run(test.name+" "+how, func(t *testing.T) {
				g := NewWithT(t)
				r := newFrameReader(src, new(framePool))
				frames, err := drain(r)
				g.Expect(frames).To(Equal(test.want))
				g.Expect(err).To(MatchError(test.ends))
				g.Expect(r.takeRunts()).To(Equal(test.runts))
				g.Expect(r.takeRunts()).To(BeZero())
			})
		}
	}
}

func TestReaderRefusesImpossibleLengths(t *testing.T) {
	small := bytes.Repeat([]byte{1}, 60)
	for length, message := range map[uint32]string{
		0:            "frame of 0 bytes announced, want 1 to 65550",
		maxFrame + 1: "frame of 65551 bytes announced, want 1 to 65550",
		0xffffffff:   "frame of 4294967295 bytes announced, want 1 to 65550",
	} {
		g := NewWithT(t)
		stream := binary.BigEndian.AppendUint32(onWire(small, small), length)
		frames, err := drain(newFrameReader(bytes.NewReader(stream), new(framePool)))
		g.Expect(err).To(MatchError(message))
		g.Expect(frames).To(HaveLen(2), "what came before is good")
	}
}

func TestReaderPassesOnItsSourcesError(t *testing.T) {
	g := NewWithT(t)
	broken := errors.New("broken")
	_, err := drain(newFrameReader(iotest.ErrReader(broken), new(framePool)))
	g.Expect(err).To(Equal(broken))
	stalled := readerFunc(func([]byte) (int, error) { return 0, nil })
	_, err = drain(newFrameReader(stalled, new(framePool)))
	g.Expect(err).To(Equal(io.ErrNoProgress))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// FuzzFrameReader compares with a reader that takes one frame at a time.
func FuzzFrameReader(f *testing.F) {
	f.Add(onWire(make([]byte, 60), make([]byte, 3), make([]byte, 1514)), byte(7))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, byte(1))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0}, byte(3))
	f.Fuzz(func(t *testing.T, stream []byte, step byte) {
		var want [][]byte
		runts := 0
		for rest := stream; len(rest) >= prefixLen; {
			n := int(binary.BigEndian.Uint32(rest))
			if n == 0 || n > maxFrame || len(rest) < prefixLen+n {
				break
			}
			if n >= headerLen {
				want = append(want, rest[prefixLen:prefixLen+n])
			} else {
				runts++
			}
			rest = rest[prefixLen+n:]
		}
		src := bytes.NewReader(stream)
		r := newFrameReader(readerFunc(func(b []byte) (int, error) {
			return src.Read(b[:min(len(b), int(step)+1)])
		}), new(framePool))
		frames, err := drain(r)
		if err == nil || !slices.EqualFunc(frames, want, bytes.Equal) || r.takeRunts() != runts {
			t.Errorf("%d frames, want %d, and %d short ones; %v", len(frames), len(want), runts, err)
		}
	})
}

func TestFramesAreReused(t *testing.T) {
	g := NewWithT(t)
	pool := new(framePool)
	a := pool.get(1500)
	a.refs.Add(1)
	pool.release([]*frame{a})
	g.Expect(pool.get(1500)).NotTo(BeIdenticalTo(a), "somebody still has it")
	pool.release([]*frame{a})
	b := pool.get(100)
	g.Expect(b).To(BeIdenticalTo(a))
	g.Expect(b.len()).To(Equal(100))
	g.Expect(binary.BigEndian.Uint32(b.wire())).To(BeEquivalentTo(100))
	g.Expect(pool.get(9000).len()).To(Equal(9000))
	g.Expect(pool.get(maxFrame).len()).To(Equal(maxFrame))
}
