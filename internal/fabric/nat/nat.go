package nat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// NAT translates between an inside and one outside address. It is for one goroutine at a time.
type NAT struct {
	cfg       Config
	outside   addr
	random    *rand.Rand
	table     table
	fragments fragments
}

// New makes a NAT with an outside IPv4 address, which all inside endpoints share. Random ports are drawn from random.
func New(cfg Config, outside netip.Addr, random *rand.Rand) (*NAT, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if !outside.Is4() {
		return nil, fmt.Errorf("nat: outside address %s is not IPv4", outside)
	}
	if random == nil {
		return nil, errors.New("nat: no source of random numbers")
	}
	n := &NAT{cfg: cfg.withDefaults(), outside: outside.As4(), random: random, table: newTable()}
	n.addForwards()
	return n, nil
}

// Config is the configuration in force, with the defaults filled in.
func (n *NAT) Config() Config { return n.cfg.Clone() }

// SetConfig changes the configuration. Filtering, hairpinning, firewall and limits hold from the next packet on, a timeout
// from the next packet that refreshes a session. Where the mapping behavior or the choice of ports changes, all mappings are
// forgotten; where only the forwards do, those that changed and what stands in the way of new ones.
func (n *NAT) SetConfig(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	was := n.cfg
	n.cfg = cfg.withDefaults()
	if was.Mapping != cfg.Mapping || was.Ports != cfg.Ports {
		n.Clear()
		return nil
	}
	for _, m := range n.table.static {
		if !n.forwards(m) {
			n.table.remove(m)
		}
	}
	n.addForwards()
	return nil
}

// Clear forgets every mapping and session but the static forwards, as a restart of the router would.
func (n *NAT) Clear() {
	n.table = newTable()
	n.fragments = fragments{}
	n.addForwards()
}

// forwards tells whether the configuration has a static mapping.
func (n *NAT) forwards(m *mapping) bool {
	for _, f := range n.cfg.Forwards {
		if f.Protocol == m.protocol && f.Port == m.outside.port && endpointOf(f.To) == m.inside {
			return true
		}
	}
	return false
}

// addForwards makes the static mappings that are missing. A dynamic one that has the port goes.
func (n *NAT) addForwards() {
	for _, f := range n.cfg.Forwards {
		outside := endpoint{n.outside, f.Port}
		if old := n.table.outside[outsideKey{f.Protocol, outside}]; old != nil {
			if old.static {
				continue
			}
			n.table.remove(old)
		}
		n.table.add(&mapping{protocol: f.Protocol, inside: endpointOf(f.To), outside: outside, static: true})
	}
}

// Translates tells whether addresses are changed.
func (n *NAT) Translates() bool { return n.translates() }

// DropsInbound tells whether the firewall is closed.
func (n *NAT) DropsInbound() bool { return n.cfg.Firewall == DropInbound }

func (n *NAT) translates() bool { return n.cfg.Mapping != NoMapping }

// idle tells whether there is nothing to do at all.
func (n *NAT) idle() bool { return !n.translates() && n.cfg.Firewall == Open }

// Outbound handles a packet from inside that is to leave by the outside. It changes pkt, which holds an IPv4 packet.
func (n *NAT) Outbound(pkt []byte, now time.Time) Verdict {
	if n.idle() {
		return pass
	}
	p, ok := parse(pkt)
	if !ok {
		return drop(Malformed)
	}
	return n.outbound(p, now)
}

func (n *NAT) outbound(p packet, now time.Time) Verdict {
	if p.isLaterFragment() {
		return n.fragments.follow(p, now)
	}
	switch kindOf(p) {
	case isFlow:
		return n.flowOut(p, now)
	case isReply:
		return n.replyOut(p, now)
	case isError:
		return n.errorOut(p, now)
	case isOther:
		return n.otherOut(p, now)
	default:
		return drop(Malformed)
	}
}

// Inbound handles a packet that came from outside, for the outside address or, where nothing is translated, for the inside.
// It changes pkt.
func (n *NAT) Inbound(pkt []byte, now time.Time) Verdict {
	if n.idle() {
		return pass
	}
	p, ok := parse(pkt)
	if !ok {
		return drop(Malformed)
	}
	if n.translates() && p.dst() != n.outside {
		return drop(Unsolicited)
	}
	return n.inbound(p, now)
}

func (n *NAT) inbound(p packet, now time.Time) Verdict {
	if p.isLaterFragment() {
		return n.fragments.follow(p, now)
	}
	switch kindOf(p) {
	case isFlow:
		return n.flowIn(p, now)
	case isReply:
		return n.replyIn(p, now)
	case isError:
		return n.errorIn(p, now)
	case isOther:
		return n.otherIn(p, now)
	default:
		return drop(Malformed)
	}
}

// Hairpin handles a packet from inside that is for the outside address. It changes pkt.
func (n *NAT) Hairpin(pkt []byte, now time.Time) Verdict {
	p, ok := parse(pkt)
	if !ok {
		return drop(Malformed)
	}
	if !n.translates() || p.protocol() == ICMP && kindOf(p) != isError {
		return local
	}
	if !n.cfg.Hairpin {
		return drop(HairpinOff)
	}
	if kindOf(p) == isFlow && !p.isLaterFragment() {
		_, dst, _ := p.ends()
		if n.table.byOutside(p.protocol(), dst, now) == nil {
			return drop(Unsolicited)
		}
	}
	if v := n.outbound(p, now); v.Action != Pass {
		return v
	}
	v := n.inbound(p, now)
	if v.Action == Pass {
		v.Action = TurnBack
	}
	return v
}
