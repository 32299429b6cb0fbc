package lab

import (
	"fmt"
	"strings"

	"ionlab/internal/fabric"
)

// NetState is the state of a lab's networks, for reports and for other processes. Fields may be added, never renamed or
// removed.
type NetState struct {
	Seed    uint64        `json:"seed"` // of all impairments
	Links   []LinkState   `json:"links"`
	Cuts    [][2]string   `json:"cuts"` // from, to
	Routers []RouterState `json:"routers"`
}

// LinkState is a link in NetState.
type LinkState struct {
	Owner   string `json:"owner"` // node or router
	Network string `json:"network"`
	Up      bool   `json:"up"`
	Egress  string `json:"egress"` // what it does to frames, in words; "none" for nothing
	Ingress string `json:"ingress"`
	// Planned is what the topology says, where that is something else.
	Planned  string            `json:"planned,omitempty"`
	Measured []string          `json:"measured,omitempty"` // by the newest measurement of each direction, in words
	Sent     fabric.Traffic    `json:"sent"`
	Received fabric.Traffic    `json:"received"`
	Dropped  map[string]uint64 `json:"dropped,omitempty"` // by cause
	// What else became of frames.
	Duplicated uint64 `json:"duplicated,omitempty"`
	Reordered  uint64 `json:"reordered,omitempty"`
	Corrupted  uint64 `json:"corrupted,omitempty"`
}

// RouterState is a router in NetState.
type RouterState struct {
	Name     string   `json:"name"`
	Inside   string   `json:"inside"` // network and address
	Outside  string   `json:"outside"`
	NAT      string   `json:"nat"`
	Firewall string   `json:"firewall"`
	Mappings []string `json:"mappings"`
	Counters string   `json:"counters"`
}

// packets is what a router has done, in words.
func packets(c fabric.RouterCounters) string {
	text := fmt.Sprintf("%d packets forwarded, %d in fragments, %d answered, %d ICMP errors sent", c.Forwarded, c.Fragmented, c.Answered, c.Errors)
	if dropped := counted(c.Dropped); dropped != "" {
		text += "; dropped: " + dropped
	}
	return text
}

// IsImpaired tells whether the link is anything but up and perfect.
func (s LinkState) IsImpaired() bool { return !s.Up || s.Egress != perfect || s.Ingress != perfect }

// Lost is how many frames the link has dropped, for whatever cause.
func (s LinkState) Lost() uint64 {
	var sum uint64
	for _, count := range s.Dropped {
		sum += count
	}
	return sum
}

// perfect is the impairment that does nothing, in words.
const perfect = "none"

// String is what the link does, in words.
func (s LinkState) String() string {
	var words []string
	if !s.Up {
		words = append(words, "down")
	}
	switch {
	case s.Egress == s.Ingress && s.Egress != perfect:
		words = append(words, s.Egress)
	case s.Egress != s.Ingress:
		words = append(words, "egress "+s.Egress, "ingress "+s.Ingress)
	case s.Up:
		words = append(words, perfect)
	}
	return strings.Join(words, "; ")
}

func stateOf(up bool, c fabric.Conditions) string {
	return LinkState{Up: up, Egress: c.Egress.String(), Ingress: c.Ingress.String()}.String()
}

// NetState is the state of the lab's networks now.
func (l *Lab) NetState() (NetState, error) {
	cuts, err := l.Cuts()
	if err != nil {
		return NetState{}, fmt.Errorf("look at the networks: %w", err)
	}
	state := NetState{Seed: l.seed, Links: []LinkState{}, Cuts: cuts, Routers: []RouterState{}}
	if cuts == nil {
		state.Cuts = [][2]string{}
	}
	measured := l.Measured()
	for _, link := range l.links {
		one, err := link.look(measured)
		if err != nil {
			return state, fmt.Errorf("look at the networks: %w", err)
		}
		state.Links = append(state.Links, one)
	}
	for _, router := range l.routers {
		one, err := router.look()
		if err != nil {
			return state, fmt.Errorf("look at the networks: %w", err)
		}
		state.Routers = append(state.Routers, one)
	}
	return state, nil
}

func (k *Link) look(measured []fabric.Measurement) (LinkState, error) {
	inner, err := k.wired()
	if err != nil {
		return LinkState{}, err
	}
	now, counters := inner.Conditions(), inner.Counters()
	state := LinkState{
		Owner: k.owner, Network: k.network, Up: inner.Up(), Egress: now.Egress.String(), Ingress: now.Ingress.String(),
		Sent: counters.Egress, Received: counters.Ingress, Dropped: map[string]uint64{},
		Duplicated: counters.Duplicated, Reordered: counters.Reordered, Corrupted: counters.Corrupted,
	}
	if now != k.planned {
		state.Planned = stateOf(true, k.planned)
	}
	for cause, count := range counters.Dropped {
		state.Dropped[cause.String()] = count
	}
	for _, m := range measured {
		if m.Owner == k.owner && m.Network == k.network {
			state.Measured = append(state.Measured, m.String())
		}
	}
	return state, nil
}

func (r *Router) look() (RouterState, error) {
	mappings, err := r.Mappings()
	if err != nil {
		return RouterState{}, err
	}
	counters, err := r.Counters()
	if err != nil {
		return RouterState{}, err
	}
	state := RouterState{
		Name: r.Name(), NAT: r.NAT().String(), Firewall: string(r.Firewall()), Mappings: []string{}, Counters: packets(counters),
		Inside:  r.spec.Inside.Network + " " + r.spec.Inside.Addr.Addr().String(),
		Outside: r.spec.Outside.Network + " " + r.spec.Outside.Addr.Addr().String(),
	}
	for _, m := range mappings {
		state.Mappings = append(state.Mappings, fmt.Sprint(m))
	}
	return state, nil
}
