package fabric

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestAPartitionIsOneWay(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(3))
	a, b, c := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")
	g.Expect(f.Block("a", "b")).To(Succeed())
	g.Expect(f.Blocked()).To(Equal([][2]string{{"a", "b"}}))
	a.send(ether(broadcast, a.mac(), testType, "all but b"))
	c.recv()
	b.silent()
	back := ether(a.mac(), b.mac(), testType, "the other way")
	b.send(back)
	g.Expect(a.recv()).To(Equal(back))
	a.send(ether(b.mac(), a.mac(), testType, "unicast too"))
	b.silent()
	g.Expect(b.link.Counters().Dropped).To(Equal(map[Cause]uint64{Partitioned: 2}))

	g.Expect(f.Block("b", "a")).To(Succeed())
	b.send(back)
	a.silent()
	g.Expect(f.Blocked()).To(Equal([][2]string{{"a", "b"}, {"b", "a"}}))
	g.Expect(f.Unblock("a", "b")).To(Succeed())
	g.Expect(f.Unblock("b", "a")).To(Succeed())
	g.Expect(f.Unblock("b", "a")).To(Succeed(), "there need be none")
	g.Expect(f.Blocked()).To(BeEmpty())
	b.send(back)
	g.Expect(a.recv()).To(Equal(back))
}

func TestBlockNamesWhatThereIs(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	g.Expect(f.Block("a", "z")).To(MatchError(`block frames from "a" to "z": no node or router "z"; there are: a, b`))
	g.Expect(f.Unblock("y", "a")).To(MatchError(`unblock frames from "y" to "a": no node or router "y"; there are: a, b`))
	g.Expect(f.Block("a", "a")).To(MatchError(`block frames from "a" to "a": "a" cannot be parted from itself`))
}

// A router hands the origin on, so that a partition holds behind it, whatever MAC address the frame bears.
func TestAPartitionGoesByTheOrigin(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, subnet("lan", 20, 1), subnet("wan", 30, 2))
	wan, _ := f.Network("wan")
	lan, _ := f.Link("a", "lan")
	b := connect(t, f, "b", "wan")
	port := wan.addLink(linkConfig{owner: "gw", origin: f.parts.member("gw"), addr: addr4(30, 99), hw: 0x060000000099})
	got := make(receiverChan, 4)
	port.setReceiver(got)
	router := sender{link: port}
	forward := func(text string, origin uint16) {
		data := ether(b.mac(), port.hw, testType, text)
		fr := wan.sw.pool.get(len(data))
		copy(fr.bytes(), data)
		fr.origin = origin
		router.send([]*frame{fr})
	}
	g.Expect(port.Connected()).To(BeTrue())
	_, err := f.Socket("gw", "wan")
	g.Expect(err).To(MatchError(`"gw" on network "wan" is a router, which needs no socket`))

	forward("from a", lan.origin)
	b.recv()
	b.send(ether(port.hw, b.mac(), testType, "back"))
	g.Eventually(got).WithTimeout(patience).Should(Receive())
	g.Expect(f.Block("a", "b")).To(Succeed())
	forward("from a", lan.origin)
	forward("from gw", port.origin)
	g.Expect(string(b.recv()[headerLen:])).To(Equal("from gw"))
	g.Expect(b.link.Counters().Dropped).To(Equal(map[Cause]uint64{Partitioned: 1}))
}

// receiverChan is a receiver that a test reads from.
type receiverChan chan *frame

func (c receiverChan) receive(batch []*frame, _ int) (int, Cause) {
	for i, f := range batch {
		select {
		case c <- f:
		default:
			return i, Overflow
		}
	}
	return len(batch), Overflow
}
