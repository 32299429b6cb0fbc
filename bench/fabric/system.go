package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containers/gvisor-tap-vsock/pkg/tap"
	"github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/sirupsen/logrus"

	"ionlab/internal/fabric"
	"ionlab/internal/fabric/impair"
)

const frameSize = 1514 // Ethernet header and a full packet

// The two guests of every system.
var macs = [2]net.HardwareAddr{{0x06, 0, 0, 0, 0, 0x0b}, {0x06, 0, 0, 0, 0, 0x0c}}

// system is something with two ports that passes frames from one to the other.
type system struct {
	ports [2]net.Conn
	// dropped is how many frames it has dropped so far.
	dropped func() uint64
	close   func() error
}

// ours is a fabric whose first guest's frames meet the impairment.
func ours(i impair.Impairment) (*system, error) {
	dir, err := os.MkdirTemp("", "fabric")
	if err != nil {
		return nil, err
	}
	cfg := fabric.Config{Dir: dir, Seed: 1, Networks: []fabric.NetworkConfig{{
		Name: "lan", Subnet: netip.MustParsePrefix("10.20.0.0/24"), Control: netip.MustParseAddr("10.20.0.2"),
	}}}
	for n, mac := range macs {
		addr := netip.AddrFrom4([4]byte{10, 20, 0, byte(11 + n)})
		cfg.Networks[0].Hosts = append(cfg.Networks[0].Hosts, fabric.Host{Node: string(rune('a' + n)), Addr: addr, MAC: mac})
	}
	cfg.Networks[0].Hosts[0].Conditions.Egress = i
	f, err := fabric.New(cfg)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &system{dropped: func() uint64 { return 0 }}
	s.close = func() error { return errors.Join(s.hangUp(), f.Close(), os.RemoveAll(dir)) }
	if err := s.dial(f); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *system) dial(f *fabric.Fabric) error {
	var links []*fabric.Link
	for n := range s.ports {
		node := string(rune('a' + n))
		path, err := f.Socket(node, "lan")
		if err != nil {
			return err
		}
		if s.ports[n], err = net.Dial("unix", path); err != nil { //nolint:noctx // A unix socket of our own answers at once.
			return err
		}
		link, err := f.Link(node, "lan")
		if err != nil {
			return err
		}
		links = append(links, link)
	}
	s.dropped = func() uint64 {
		var sum uint64
		for _, l := range links {
			for _, n := range l.Counters().Dropped {
				sum += n
			}
		}
		return sum
	}
	return s.learn()
}

// learn lets each port be known, and returns when frames pass.
func (s *system) learn() error {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if err := s.greet(); err == nil {
			return nil
		}
	}
	return errors.New("no frame has passed within 10 s")
}

func (s *system) greet() error {
	for from := range s.ports {
		hello := onWire(macs[1-from], macs[from], 64)
		if _, err := s.ports[from].Write(hello); err != nil {
			return err
		}
	}
	for _, port := range s.ports {
		_ = port.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := io.ReadAtLeast(port, make([]byte, 1<<20), 68)
		_ = port.SetReadDeadline(time.Time{})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *system) hangUp() error {
	var errs []error
	for _, port := range s.ports {
		if port != nil {
			errs = append(errs, port.Close())
		}
	}
	return errors.Join(errs...)
}

// theirs is the switch of gvisor-tap-vsock.
func theirs(ctx context.Context) (*system, error) {
	logrus.SetOutput(io.Discard) // It complains when a guest goes.
	dir, err := os.MkdirTemp("", "fabric")
	if err != nil {
		return nil, err
	}
	gateway, err := tap.NewLinkEndpoint(false, 1500, "5a:94:ef:e4:0c:dd", "10.20.0.1", nil)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	sw := tap.NewSwitch(false, 1500)
	sw.Connect(gateway)
	gateway.Connect(sw)
	var serving sync.WaitGroup
	s := &system{dropped: func() uint64 { return 0 }}
	s.close = func() error {
		err := s.hangUp()
		serving.Wait()
		return errors.Join(err, os.RemoveAll(dir))
	}
	for n := range s.ports {
		inside, err := s.pair(filepath.Join(dir, fmt.Sprintf("%d.sock", n)), n)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		serving.Go(func() { _ = sw.Accept(ctx, inside, types.QemuProtocol) })
	}
	if err := s.learn(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// pair connects port n with a unix socket as ours has it, and returns the other end.
func (s *system) pair(path string, n int) (net.Conn, error) {
	ln, err := net.Listen("unix", path) //nolint:noctx // A unix socket of our own answers at once.
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	if s.ports[n], err = net.Dial("unix", path); err != nil { //nolint:noctx // As above.
		return nil, err
	}
	return ln.Accept()
}

// wire is a socket with nothing between its ends: what there is without a switch.
func wire() (*system, error) {
	dir, err := os.MkdirTemp("", "fabric")
	if err != nil {
		return nil, err
	}
	s := &system{dropped: func() uint64 { return 0 }}
	s.close = func() error { return errors.Join(s.hangUp(), os.RemoveAll(dir)) }
	if s.ports[0], err = s.pair(filepath.Join(dir, "wire.sock"), 1); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}
