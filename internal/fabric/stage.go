package fabric

// stage is what a link's frames pass in one direction, between its port and the switch: where delay, loss and the other
// impairments sit. A direction without one costs nothing.
type stage interface {
	// accept takes over the references of batch, but not the slice, which it does not change. It hands those frames on that
	// survive, now or later, in the order and number it likes. It never waits. It may be called concurrently.
	accept(batch []*frame)
}

// stageBox lets a stage be swapped atomically while frames pass.
type stageBox struct{ stage }

// controlPath knows the addresses of a network's control endpoint, by which frames of the control path are told.
type controlPath struct {
	mac mac
	ip  [4]byte
}

// fromGuest reports whether a guest's frame is for the control endpoint: sent to it, or asking by ARP for its address.
func (c controlPath) fromGuest(f *frame) bool {
	dst := f.dst()
	return dst == c.mac || dst == broadcast && c.askedBy(f.bytes())
}

// toGuest reports whether a frame for a guest comes from the control endpoint.
func (c controlPath) toGuest(f *frame) bool { return f.src() == c.mac }

// askedBy reports whether an Ethernet frame is an ARP packet for IPv4 (RFC 826) whose target is the control address.
func (c controlPath) askedBy(b []byte) bool {
	return len(b) >= arpFrameLen && b[12] == 0x08 && b[13] == 0x06 && [4]byte(b[arpTarget:]) == c.ip
}

const (
	arpTarget   = headerLen + 24
	arpFrameLen = arpTarget + 4
)
