package fabric

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestCountersAreAShortTable(t *testing.T) {
	g := NewWithT(t)
	c := Counters{
		Egress: Traffic{Frames: 1234, Bytes: 567890}, Ingress: Traffic{Frames: 7, Bytes: 420}, ControlIngress: Traffic{Frames: 90, Bytes: 12345},
		Dropped: map[Cause]uint64{QueueFull: 5, Lost: 12}, Duplicated: 3, Corrupted: 1,
	}
	g.Expect(c.String()).To(Equal("" +
		"           egress  1234 frames  567890 bytes\n" +
		"          ingress     7 frames     420 bytes\n" +
		"   control egress     0 frames       0 bytes\n" +
		"  control ingress    90 frames   12345 bytes\n" +
		"dropped: 12 lost, 5 queue full\n" +
		"changed: 3 duplicated, 1 corrupted\n"))
	g.Expect(Counters{}.String()).NotTo(ContainSubstring(":"))
}
