package fabric

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"ionlab/internal/fabric/nat"
)

// BenchmarkRouter is what forwarding a packet of 1500 bytes costs, without the links.
func BenchmarkRouter(b *testing.B) {
	for _, name := range []string{"none", "port-restricted-cone", "symmetric"} {
		b.Run(name, func(b *testing.B) {
			r, batch, out := routerUnderLoad(b, preset(b, name))
			b.ReportAllocs()
			b.SetBytes(int64(batch[0].len()))
			b.ResetTimer()
			for n := 0; n < b.N; n += len(batch) {
				forwardOnce(r, batch, out)
			}
			if r.Counters().Dropped["no neighbour"] != 0 {
				b.Fatal("dropped")
			}
		})
	}
}

// TestForwardingAllocatesNothing holds the steady state of a router to that.
func TestForwardingAllocatesNothing(t *testing.T) {
	for _, name := range nat.Presets() {
		r, batch, out := routerUnderLoad(t, preset(t, name))
		if allocated := testing.AllocsPerRun(100, func() { forwardOnce(r, batch, out) }); allocated != 0 {
			t.Errorf("%s: %v allocations for %d packets", name, allocated, len(batch))
		}
	}
}

// routerUnderLoad is a router that is not running, which knows its neighbours, and a batch from alice to bob.
func routerUnderLoad(t testing.TB, cfg nat.Config) (*Router, []*frame, *outbox) {
	home, wan := segmentOf("home", 20, "alice"), segmentOf("wan", 30, "bob")
	f := newFabric(t, func(c *Config) { c.Routers = []RouterConfig{routerAt(0, "gw", "home", 20, "wan", 30, cfg)} }, home, wan)
	r := f.routers[0]
	w := &wire{t: t, host: home.Hosts[0], router: r.ports[0].mac.bytes()}
	data := w.routed(&layers.IPv4{DstIP: addr4(30, 11).AsSlice()}, &layers.UDP{SrcPort: 5000, DstPort: 6000}, gopacket.Payload(make([]byte, 1472)))
	batch := make([]*frame, 64)
	for i := range batch {
		batch[i] = r.pool.get(len(data))
		copy(batch[i].bytes(), data)
	}
	out := r.newOutbox()
	r.mu.Lock()
	r.ports[1].learn(addr4(30, 11), macOf(wan.Hosts[0].MAC), alsoNew, r.clock(), out)
	r.mu.Unlock()
	forwardOnce(r, batch, out)
	return r, batch, out
}

func forwardOnce(r *Router, batch []*frame, out *outbox) {
	r.ports[0].handleAll(batch, out)
	for i, frames := range out.frames {
		r.pool.release(frames)
		clear(frames)
		out.frames[i] = frames[:0]
	}
}
