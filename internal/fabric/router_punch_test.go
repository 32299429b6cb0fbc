package fabric

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/nat"
)

// punchers are two guests at home behind a router each, and a public server.
type punchers struct {
	f      *Fabric
	a, b   *guest
	server *datagrams
	public string
}

func newPunchers(t *testing.T) *punchers {
	f := newFabric(t, func(c *Config) {
		c.Routers = []RouterConfig{
			routerAt(0, "gw-a", "a", 20, "wan", 30, nat.Config{}),
			routerAt(1, "gw-b", "b", 21, "wan", 30, nat.Config{}),
		}
	}, segmentOf("a", 20, "alice"), segmentOf("b", 21, "bob"), segmentOf("wan", 30, "server"))
	return &punchers{
		f: f, a: boot(t, f, "alice", "a").through(addr4(20, 200)), b: boot(t, f, "bob", "b").through(addr4(21, 201)),
		server: boot(t, f, "server", "wan").udp(t, 3478), public: "10.30.0.11:3478",
	}
}

func (p *punchers) set(t *testing.T, left, right string) {
	t.Helper()
	for i, name := range []string{left, right} {
		NewWithT(t).Expect(p.f.routers[i].SetNAT(preset(t, name))).To(Succeed())
		p.f.routers[i].ClearNAT()
	}
}

// TestHolesArePunchedBetweenGuests has real stacks do what internal/fabric/nat shows packet by packet.
func TestHolesArePunchedBetweenGuests(t *testing.T) {
	p := newPunchers(t)
	types := nat.Presets()[1:]
	port := uint16(5000)
	for i, left := range types {
		for _, right := range types[i:] {
			port++
			t.Run(left+" with "+right, func(t *testing.T) {
				g := NewWithT(t)
				p.set(t, left, right)
				a, b := p.a.udp(t, port), p.b.udp(t, port)
				a.send(p.public, "hello")
				_, mappedA := p.server.recv()
				b.send(p.public, "hello")
				_, mappedB := p.server.recv()
				hard := right == "symmetric" && (left == "symmetric" || left == "port-restricted-cone")
				g.Expect(punchUDP(a, b, mappedA, mappedB)).To(Equal(!hard))
			})
		}
	}
}

// punchUDP has both send to what they know of the other, and answer to whoever they hear.
func punchUDP(a, b *datagrams, mappedA, mappedB string) bool {
	for range 3 {
		a.send(mappedB, "to b")
		b.send(mappedA, "to a")
		for d, other := range map[*datagrams]*datagrams{a: b, b: a} {
			if _, from, err := d.tryRecv(50 * time.Millisecond); err == nil {
				d.send(from, "back")
				for range 2 { // It may have heard something else before.
					if other.hears("back") {
						return true
					}
				}
			}
		}
	}
	return false
}

func TestTCPOpensFromBothSidesAtOnce(t *testing.T) {
	t.Parallel()
	p := newPunchers(t)
	for name, want := range map[string]bool{"port-restricted-cone": true, "symmetric": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p.set(t, "port-restricted-cone", name)
			// Ports are preserved, so each knows where the other would be.
			got := make(chan error, 2)
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			open := func(gu *guest, to netip.Addr, say string) {
				got <- func() error {
					conn, err := gu.dialFrom(ctx, 7000, netip.AddrPortFrom(to, 7000).String())
					if err != nil {
						return err
					}
					defer conn.Close()
					_ = conn.SetDeadline(time.Now().Add(patience))
					if _, err := io.WriteString(conn, say); err != nil {
						return err
					}
					heard := make([]byte, 5)
					if _, err := io.ReadFull(conn, heard); err != nil || string(heard) == say {
						return fmt.Errorf("heard %q: %w", heard, err)
					}
					return nil
				}()
			}
			go open(p.a, addr4(30, 201), "alice")
			go open(p.b, addr4(30, 200), "bobby")
			first, second := <-got, <-got
			if want {
				g.Expect(first).NotTo(HaveOccurred())
				g.Expect(second).NotTo(HaveOccurred())
			} else {
				g.Expect(first).To(HaveOccurred())
				g.Expect(second).To(HaveOccurred())
			}
		})
	}
}
