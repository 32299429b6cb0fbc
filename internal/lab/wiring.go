package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ionlab/internal/fabric"
	"ionlab/internal/fabric/impair"
	"ionlab/internal/fabric/nat"
	"ionlab/internal/topology"
)

// plan makes the handles of everything that the fabric will consist of.
func (l *Lab) plan() {
	for _, spec := range l.topo.Networks {
		l.networks = append(l.networks, &Network{lab: l, spec: spec})
	}
	for _, spec := range l.topo.Routers {
		l.routers = append(l.routers, &Router{lab: l, spec: spec, nat: spec.NAT, firewall: spec.Firewall})
	}
	for _, node := range l.topo.Nodes {
		for _, link := range node.Links {
			l.links = append(l.links, &Link{lab: l, owner: node.Name, network: link.Network, planned: conditionsOf(link.Conditions)})
		}
	}
	for _, router := range l.topo.Routers {
		for _, port := range []topology.Interface{router.Inside, router.Outside} {
			l.links = append(l.links, &Link{lab: l, owner: router.Name, network: port.Network, planned: conditionsOf(port.Conditions)})
		}
	}
}

// wire starts the fabric, and the captures that the topology asks for: nothing of what the guests say is to be missed.
func (l *Lab) wire(ctx context.Context) error {
	cfg, err := l.fabricConfig()
	if err != nil {
		return err
	}
	l.tell(Event{Stage: "impairment seed", Note: strconv.FormatUint(l.seed, 10)})
	fab, err := fabric.New(cfg)
	if err != nil {
		return fmt.Errorf("start the fabric: %w", err)
	}
	l.mu.Lock()
	l.fabric = fab
	l.mu.Unlock()
	return l.beginCaptures(ctx)
}

func (l *Lab) fabricConfig() (fabric.Config, error) {
	cfg := fabric.Config{Dir: l.runDir("f"), Log: l.log, Dialer: hostDialer(), Seed: l.seed}
	if l.account != nil {
		cfg.Owner = &fabric.Owner{UID: l.account.UID, GID: l.account.GID}
	}
	for _, network := range l.topo.Networks {
		cfg.Networks = append(cfg.Networks, fabric.NetworkConfig{
			Name: network.Name, Subnet: network.Subnet, Gateway: network.Gateway, Control: network.Control,
			MTU: network.MTU, Internet: network.Internet, Hosts: l.hostsOn(network.Name),
		})
	}
	for _, router := range l.topo.Routers {
		translation, err := natConfig(router.NAT, router.Firewall)
		if err != nil {
			return cfg, fmt.Errorf("router %q: %w", router.Name, err)
		}
		cfg.Routers = append(cfg.Routers, fabric.RouterConfig{
			Name: router.Name, Inside: interfaceOf(router.Inside), Outside: interfaceOf(router.Outside), NAT: translation,
		})
	}
	return cfg, nil
}

func (l *Lab) hostsOn(network string) []fabric.Host {
	var hosts []fabric.Host
	for _, node := range l.topo.Nodes {
		for _, link := range node.Links {
			if link.Network == network {
				hosts = append(hosts, fabric.Host{
					Node: node.Name, Addr: link.Addr.Addr(), MAC: link.MAC, Conditions: conditionsOf(link.Conditions),
				})
			}
		}
	}
	return hosts
}

func interfaceOf(port topology.Interface) fabric.Interface {
	out := fabric.Interface{Network: port.Network, Addr: port.Addr.Addr(), MAC: port.MAC, Conditions: conditionsOf(port.Conditions)}
	for _, route := range port.Routes {
		out.Routes = append(out.Routes, fabric.Route{To: route.To, Via: route.Via})
	}
	return out
}

// conditionsOf puts what a topology says of a link into the fabric's words.
func conditionsOf(c topology.Conditions) fabric.Conditions {
	return fabric.Conditions{Egress: impairmentOf(c.Egress), Ingress: impairmentOf(c.Ingress)}
}

func impairmentOf(i topology.Impairment) impair.Impairment {
	out := impair.Impairment{
		Delay: i.Delay, Jitter: i.Jitter, LossPercent: i.LossPercent, Bursts: impair.GilbertElliott(i.Bursts),
		RateBits: i.RateKbps * 1000, QueueBytes: i.QueueBytes, QueueTime: i.QueueTime,
		ReorderPercent: i.ReorderPercent, DuplicatePercent: i.DuplicatePercent, CorruptPercent: i.CorruptPercent,
	}
	if i.Distribution == topology.Normal {
		out.Distribution = impair.Normal
	}
	return out
}

// natConfig puts what a topology says of a router into the fabric's words.
func natConfig(n topology.NAT, firewall topology.Firewall) (nat.Config, error) {
	cfg := nat.Config{Hairpin: n.Hairpin, UDPTimeout: n.UDPTimeout, TCPTimeout: n.TCPTimeout}
	var errs [2]error
	if n.Mapping != "" {
		cfg.Mapping, errs[0] = nat.ParseBehavior(string(n.Mapping))
	}
	if n.Filtering != "" {
		cfg.Filtering, errs[1] = nat.ParseBehavior(string(n.Filtering))
	}
	if err := errors.Join(errs[:]...); err != nil {
		return cfg, err
	}
	switch n.Ports {
	case "", topology.PreservePorts:
	case topology.RandomPorts:
		cfg.Ports = nat.Random
	default:
		return cfg, fmt.Errorf("no choice of ports %q; there are: %s, %s", n.Ports, topology.PreservePorts, topology.RandomPorts)
	}
	switch firewall {
	case "", topology.FirewallNone:
	case topology.FirewallDropInbound:
		cfg.Firewall = nat.DropInbound
	default:
		return cfg, fmt.Errorf("no firewall %q; there are: %s, %s", firewall, topology.FirewallNone, topology.FirewallDropInbound)
	}
	for _, f := range n.Forwards {
		protocol := nat.TCP
		if strings.EqualFold(f.Protocol, "udp") {
			protocol = nat.UDP
		}
		cfg.Forwards = append(cfg.Forwards, nat.Forward{Protocol: protocol, Port: f.Port, To: f.To})
	}
	return cfg, nil
}

// keptCapture is a capture that the topology asks for.
type keptCapture struct {
	network string
	capture *fabric.Capture
	file    io.WriteCloser
}

// beginCaptures begins what the topology asks for. Where nobody offers a place, nothing is kept.
func (l *Lab) beginCaptures(ctx context.Context) error {
	if l.cfg.Capture == nil {
		return nil
	}
	for _, network := range l.networks {
		if !network.spec.Capture {
			continue
		}
		file, err := l.cfg.Capture(network.Name())
		if err != nil {
			return fmt.Errorf("capture network %q: %w", network.Name(), err)
		}
		capture, err := network.Capture(context.WithoutCancel(ctx), file, fabric.CaptureOptions{
			Comment: fmt.Sprintf("lab %s (%s), from its start to its end", l.ID(), l.topo.Metadata.Name),
		})
		if err != nil {
			return errors.Join(err, file.Close())
		}
		l.mu.Lock()
		l.captures = append(l.captures, keptCapture{network.Name(), capture, file})
		l.mu.Unlock()
	}
	return nil
}

// endCaptures is a part of Close, before the fabric goes.
func (l *Lab) endCaptures() error {
	l.mu.Lock()
	captures := l.captures
	l.captures = nil
	l.mu.Unlock()
	var errs []error
	for _, kept := range captures {
		if err := errors.Join(kept.capture.Close(), kept.file.Close()); err != nil {
			errs = append(errs, fmt.Errorf("capture of network %q: %w", kept.network, err))
		}
	}
	return errors.Join(errs...)
}

// Comment writes text into all captures, and among the frames that are kept for evidence. A lab without networks, before
// its start or after its end, has no place for it.
func (l *Lab) Comment(text string) {
	if fab, err := l.wired(); err == nil {
		fab.Comment(text)
	}
}
