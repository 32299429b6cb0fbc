package fabric

import (
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"ionlab/internal/fabric/nat"
)

// Router joins two networks: it forwards IPv4, with or without NAT, and IPv6 without. It is no machine and needs none; on
// each of its networks it has a link like a node's. Its methods may be called concurrently.
type Router struct {
	name   string
	origin uint16
	ports  []*routerPort // inside ones, then the outside
	pool   *framePool
	clock  func() time.Time
	log    *slog.Logger

	mu        sync.Mutex
	nat       *nat.NAT
	routes    []route // by length of the prefix, the longest first
	limiter   *rate.Limiter
	early     early
	counts    RouterCounters
	resolving bool          // whether any neighbour is being asked for
	kick      chan struct{} // tells maintain that one is
}

// route leads to a port, and there to a neighbour where via is valid.
type route struct {
	to   netip.Prefix
	via  netip.Addr
	port *routerPort
}

// newRouter makes a router and its links. It forwards once run is called.
func (f *Fabric) newRouter(cfg Config, rc RouterConfig, pool *framePool) (*Router, error) {
	r := &Router{
		name: rc.Name, origin: f.parts.member(rc.Name), pool: pool, clock: cfg.Clock, log: cfg.Log,
		limiter: rate.NewLimiter(icmpPerSecond, icmpBurst), kick: make(chan struct{}, 1),
	}
	r.counts.Dropped = make(map[string]uint64)
	for _, i := range rc.interfaces() {
		r.ports = append(r.ports, newRouterPort(r, f.byName[i.Network], i))
	}
	r.outside().isOutside = true
	r.addRoutes(rc.interfaces())
	var err error
	r.nat, err = nat.New(rc.NAT, rc.Outside.Addr, routerRandom(cfg.Seed, rc.Name))
	if err != nil {
		return nil, fmt.Errorf("router %q: %w", rc.Name, err)
	}
	return r, nil
}

// routerRandom is the source of a router's random ports.
func routerRandom(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte("router\x00" + name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

func (r *Router) addRoutes(interfaces []Interface) {
	for i, port := range r.ports {
		for _, own := range port.subnets {
			r.routes = append(r.routes, route{to: own, port: port})
		}
		for _, static := range interfaces[i].Routes {
			r.routes = append(r.routes, route{to: static.To.Masked(), via: static.Via, port: port})
		}
	}
	slices.SortStableFunc(r.routes, func(a, b route) int { return b.to.Bits() - a.to.Bits() })
}

// start sets the router going until done is closed; running counts the goroutines.
func (r *Router) start(done <-chan struct{}, running *sync.WaitGroup) {
	for _, p := range r.ports {
		running.Go(func() { p.run(done) })
	}
	running.Go(func() { r.maintain(done) })
}

// route is the way to an address, or nil.
func (r *Router) route(to netip.Addr) *route {
	for i := range r.routes {
		if r.routes[i].to.Contains(to) {
			return &r.routes[i]
		}
	}
	return nil
}

func (r *Router) outside() *routerPort { return r.ports[len(r.ports)-1] }

// owns is the port that has an address, or nil.
func (r *Router) owns(a netip.Addr) *routerPort {
	for _, p := range r.ports {
		if p.has(a) {
			return p
		}
	}
	return nil
}

// Name is the router's name.
func (r *Router) Name() string { return r.name }

// Links are the router's links: the inside's, then the outside's.
func (r *Router) Links() []*Link {
	links := make([]*Link, len(r.ports))
	for i, p := range r.ports {
		links[i] = p.link
	}
	return links
}

// NAT is how the router translates now, with the defaults filled in.
func (r *Router) NAT() nat.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nat.Config()
}

// SetNAT changes the translation from the next packet on. Where its mapping or its choice of ports changes, the mappings
// are forgotten; else they stay.
func (r *Router) SetNAT(cfg nat.Config) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.nat.SetConfig(cfg); err != nil {
		return fmt.Errorf("router %q: %w", r.name, err)
	}
	return nil
}

// ClearNAT forgets all mappings but the static forwards, as a restart of the router would.
func (r *Router) ClearNAT() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nat.Clear()
}

// Mappings are the live mappings and the forwards, in order.
func (r *Router) Mappings() []nat.Mapping {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nat.Mappings(r.clock())
}

// RestoreMappings replaces all mappings by those that Mappings listed at the time saved, as if no time had passed since: for
// guests that are put back to what they were. What does not fit the NAT of now is left out. The neighbours that the router
// knows are forgotten, and asked for anew. It returns how many mappings it has restored.
func (r *Router) RestoreMappings(list []nat.Mapping, saved time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.ports {
		for addr, n := range p.neighbours {
			r.pool.release(n.takeWaiting())
			delete(p.neighbours, addr)
		}
	}
	return r.nat.Restore(list, saved, r.clock())
}

// RouterCounters is what a router has done since its fabric began. Its links count frames; these are packets.
type RouterCounters struct {
	// Forwarded packets went on to another network, or turned back into the one they came from.
	Forwarded uint64
	// Fragmented packets were too large for the next network and went in pieces.
	Fragmented uint64
	// Answered are pings and questions for neighbours that the router answered itself.
	Answered uint64
	// Errors are the ICMP errors that the router sent.
	Errors uint64
	// Dropped packets by cause, in a few words: those of a Cause of nat, and those of the router.
	Dropped map[string]uint64
}

// Counters is what the router has done until now.
func (r *Router) Counters() RouterCounters {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts
	c.Dropped = make(map[string]uint64, len(r.counts.Dropped))
	for cause, n := range r.counts.Dropped {
		c.Dropped[cause] = n
	}
	return c
}

// What a router drops packets for, besides the causes of nat.
const (
	dropMalformed  = "malformed"
	dropMartian    = "impossible source"
	dropBroadcast  = "broadcast or multicast"
	dropTTL        = "TTL exceeded"
	dropNoRoute    = "no route"
	dropNeighbour  = "no neighbour"
	dropQueue      = "neighbour queue full"
	dropTooBig     = "too big"
	dropProhibited = "prohibited"
	dropNotForUs   = "for the router itself"
	dropFragment   = "fragment without its first"
	dropICMPLimit  = "ICMP error not sent: rate limit"
)

// drop counts a packet that goes nowhere.
func (r *Router) drop(cause string) { r.counts.Dropped[cause]++ }

// Router finds a router by its name.
func (f *Fabric) Router(name string) (*Router, error) {
	known := make([]string, len(f.routers))
	for i, r := range f.routers {
		if r.name == name {
			return r, nil
		}
		known[i] = r.name
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("no router %q: %w", name, errNoRouter)
	}
	return nil, fmt.Errorf("no router %q; there are: %s", name, strings.Join(known, ", "))
}

// Routers are all routers, in the order of the configuration.
func (f *Fabric) Routers() []*Router { return slices.Clone(f.routers) }
