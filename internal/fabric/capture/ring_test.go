package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// ticking is a clock that goes on by a microsecond whenever it is read.
func ticking() func() time.Time {
	now := noon
	return func() time.Time {
		now = now.Add(time.Microsecond)
		return now
	}
}

func record(r *Ring, iface int, d Direction, frames ...[]byte) {
	b := r.Begin(iface, d)
	for _, f := range frames {
		b.Add(f)
	}
	b.End()
}

func numbered(n int) []byte {
	f := ethernet(60)
	binary.BigEndian.PutUint32(f[14:], uint32(n))
	return f
}

func TestARingKeepsTheLastFrames(t *testing.T) {
	g := NewWithT(t)
	r := NewRing(8, ticking())
	for i := range 21 {
		if i == 3 || i == 16 {
			r.Comment("By: a step")
		}
		record(r, i%2, Direction(i%2), numbered(i))
	}
	var file bytes.Buffer
	g.Expect(r.Save(&file, twoLinks)).To(Succeed())
	packets, reader := reread(t, file.Bytes())
	var numbers []int
	var steps []int
	for i, p := range packets {
		if p.iface == commentsName {
			steps = append(steps, i)
			continue
		}
		n := int(binary.BigEndian.Uint32(p.data[14:]))
		numbers = append(numbers, n)
		g.Expect(p.iface).To(Equal(twoLinks.Interfaces[n%2].Name))
		g.Expect(p.direction).To(BeEquivalentTo(2 - n%2))
	}
	g.Expect(numbers).To(Equal([]int{13, 14, 15, 16, 17, 18, 19, 20}))
	g.Expect(steps).To(Equal([]int{0, 4}), "a comment stands where it was made")
	g.Expect(reader.SectionInfo().Comment).To(Equal(twoLinks.Comment + "\nthe last 8 of 21 frames, at most 176 bytes of each"))
	alice, _ := reader.Interface(0)
	g.Expect(alice.Statistics.PacketsReceived).To(BeEquivalentTo(4))
}

func TestARingKeepsBeginningsAndLengths(t *testing.T) {
	g := NewWithT(t)
	r := NewRing(4, ticking())
	long := ethernet(9014)
	record(r, 1, Inbound, ethernet(14), long, ethernet(ringSnap))
	long[0] = 0xee // The ring has its own copy.
	var file bytes.Buffer
	g.Expect(r.Save(&file, twoLinks)).To(Succeed())
	packets, _ := reread(t, file.Bytes())
	g.Expect(packets).To(HaveLen(3))
	g.Expect(packets[0].data).To(Equal(ethernet(14)))
	g.Expect(packets[1].data).To(Equal(ethernet(ringSnap)))
	g.Expect(packets[1].length).To(Equal(9014))
	g.Expect(packets[2].data).To(Equal(ethernet(ringSnap)))
	g.Expect(packets[2].length).To(Equal(ringSnap))
}

func TestAnEmptyRingIsAnEmptyFile(t *testing.T) {
	g := NewWithT(t)
	r := NewRing(4, ticking())
	for range ringComments + 10 {
		r.Comment("nothing happens")
	}
	var file bytes.Buffer
	g.Expect(r.Save(&file, twoLinks)).To(Succeed())
	packets, _ := reread(t, file.Bytes())
	g.Expect(packets).To(HaveLen(ringComments))
	g.Expect(r.slots).To(BeNil(), "an idle network costs nothing")
	g.Expect(r.Save(&fullDisk{}, twoLinks)).To(MatchError(errFull))
	g.Expect(errors.Is(r.Save(&file, Header{}), errFull)).To(BeFalse())
}

func TestARingIsRecordedAndSavedConcurrently(t *testing.T) {
	g := NewWithT(t)
	r := NewRing(64, time.Now)
	var writers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			for n := range 2000 {
				record(r, i, Inbound, numbered(n), numbered(n))
			}
		})
	}
	for range 20 {
		var file bytes.Buffer
		g.Expect(r.Save(&file, twoLinks)).To(Succeed())
		packets, _ := reread(t, file.Bytes())
		for i, p := range packets[:max(len(packets), 1)-1] {
			g.Expect(p.at.After(packets[i+1].at)).To(BeFalse(), "in the order of time")
		}
	}
	writers.Wait()
	_, _, recorded := r.snapshot()
	g.Expect(recorded).To(BeEquivalentTo(8000))
}

func TestRecordingDoesNotAllocate(t *testing.T) {
	g := NewWithT(t)
	r := NewRing(64, time.Now)
	f := ethernet(1514)
	g.Expect(testing.AllocsPerRun(1000, func() {
		b := r.Begin(0, Outbound)
		b.Add(f)
		b.Add(f)
		b.End()
	})).To(BeZero())
}

func BenchmarkRing(b *testing.B) {
	r := NewRing(2048, time.Now)
	f := ethernet(1514)
	b.ReportAllocs()
	for b.Loop() {
		batch := r.Begin(0, Outbound)
		for range 64 {
			batch.Add(f)
		}
		batch.End()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/frame")
}
