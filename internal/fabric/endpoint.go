package fabric

import (
	"fmt"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const nic tcpip.NICID = 1

// endpointConfig says who an endpoint is.
type endpointConfig struct {
	port   int
	mac    mac
	addr   netip.Addr
	subnet netip.Prefix
	mtu    int
	// intercept sees every frame for the endpoint that is not ARP, before the stack. It returns false to keep it from it.
	intercept func(f *frame) bool
}

// endpoint is a host of the fabric's own on a network: a gVisor stack behind a port of the switch.
type endpoint struct {
	endpointConfig
	sw    *vswitch
	stack *stack.Stack
	eth   *ethernet.Endpoint
	queue *queue

	mu      sync.Mutex
	closed  bool
	closing chan struct{}
	dialing sync.WaitGroup
}

// newEndpoint makes an endpoint and plugs it in. Frames reach its stack while run runs.
func newEndpoint(cfg endpointConfig, sw *vswitch) (*endpoint, error) {
	e := &endpoint{endpointConfig: cfg, sw: sw, stack: newStack(), queue: newQueue(), closing: make(chan struct{})}
	link := &stackLink{
		Endpoint: channel.New(0, uint32(cfg.mtu+headerLen), tcpip.LinkAddress(cfg.mac.bytes())),
		sw:       sw, port: cfg.port,
	}
	link.SupportedGSOKind = stack.GVisorGSOSupported
	e.eth = ethernet.New(link)
	if err := e.configure(); err != nil {
		e.stack.Destroy()
		return nil, fmt.Errorf("set up endpoint %s: %w", cfg.addr, err)
	}
	e.queue.reopen(sw.pool)
	sw.table.fix(cfg.mac, cfg.port)
	sw.plug(cfg.port, e)
	return e, nil
}

func (e *endpoint) configure() error {
	if err := e.stack.CreateNIC(nic, e.eth); err != nil {
		return stackError(err)
	}
	address := tcpip.ProtocolAddress{
		Protocol:          header.IPv4ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: addressOf(e.addr), PrefixLen: e.subnet.Bits()},
	}
	if err := e.stack.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
		return stackError(err)
	}
	e.stack.SetRouteTable([]tcpip.Route{{Destination: address.AddressWithPrefix.Subnet(), NIC: nic}})
	return nil
}

// deliver takes frames from the switch.
func (e *endpoint) deliver(batch []*frame) {
	n, _ := e.queue.push(batch, controlLimits)
	e.sw.pool.release(batch[n:])
}

// dropped is of no interest: an endpoint of ours sends no bad frames.
func (e *endpoint) dropped(Cause, int) {}

// run feeds the stack until done is closed.
func (e *endpoint) run(done <-chan struct{}) {
	spare := make([]*frame, 0, maxBatch)
	for {
		batch := e.queue.take(spare)
		if len(batch) == 0 {
			select {
			case <-done:
				return
			case <-e.queue.wake:
			}
			continue
		}
		bytes := 0
		for _, f := range batch {
			bytes += len(f.buf)
			if e.wants(f) {
				e.inject(f.bytes())
			}
		}
		e.queue.done(len(batch), bytes)
		e.sw.pool.release(batch)
		clear(batch)
		spare = batch
	}
}

// wants tells whether the stack gets a frame: IPv4 for its MAC or everyone, and ARP about its own address. A stack that
// forwards for others would answer ARP for any address.
func (e *endpoint) wants(f *frame) bool {
	dst := f.dst()
	if dst != e.mac && dst != broadcast {
		return false
	}
	b := f.bytes()
	switch f.etherType() {
	case uint16(header.ARPProtocolNumber):
		return len(b) >= arpFrameLen && [4]byte(b[arpTarget:]) == e.addr.As4()
	case uint16(header.IPv4ProtocolNumber):
		return e.intercept == nil || e.intercept(f)
	}
	return false
}

func (e *endpoint) inject(b []byte) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	e.eth.DeliverNetworkPacket(0, pkt)
	pkt.DecRef()
}

// send puts a frame of the endpoint's own making on the network.
func (e *endpoint) send(f *frame) {
	one := [1]*frame{f}
	e.sw.input(e.port, one[:])
}

// begin makes close wait for a dial, which end then ends. It returns false where close has been called.
func (e *endpoint) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.dialing.Add(1)
	}
	return !e.closed
}

// close ends the stack, its dials, connections and goroutines. It is called once, after run has returned.
func (e *endpoint) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	close(e.closing)
	e.dialing.Wait() // A connection that appeared while the stack ends would keep it from ending.
	e.stack.Destroy()
	e.queue.shut(e.sw.pool)
}

// stackLink gives a stack's packets to the switch.
type stackLink struct {
	*channel.Endpoint
	sw   *vswitch
	port int
}

// WritePackets implements stack.LinkWriter. It never waits.
func (l *stackLink) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	var batch [64]*frame
	rest := pkts.AsSlice()
	for len(rest) > 0 {
		n := min(len(rest), len(batch))
		for i, pkt := range rest[:n] {
			batch[i] = l.frame(pkt)
		}
		l.sw.input(l.port, batch[:n])
		rest = rest[n:]
	}
	return pkts.Len(), nil
}

func (l *stackLink) frame(pkt *stack.PacketBuffer) *frame {
	f := l.sw.pool.get(pkt.Size())
	views, offset := pkt.AsViewList()
	at := 0
	b := f.bytes()
	for v := views.Front(); v != nil; v = v.Next() {
		s := v.AsSlice()
		if offset >= len(s) {
			offset -= len(s)
			continue
		}
		at += copy(b[at:], s[offset:])
		offset = 0
	}
	return f
}
