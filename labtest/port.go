package labtest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// PortState is what a connection to a TCP port came to.
type PortState string

// The states of a port.
const (
	// Open: somebody accepted the connection.
	Open PortState = "open"
	// Refused: a reset came back, so that the machine is reached and nobody listens.
	Refused PortState = "refused"
	// NoAnswer: nothing came back in time.
	NoAnswer PortState = "no answer"
	// Unreachable: an ICMP error came back, or the guest has no route.
	Unreachable PortState = "unreachable"
)

// portWait is how long CheckPort waits for an answer: past TCP's first two retransmissions (after 1 s and 3 s; RFC 6298).
const portWait = 5 * time.Second

// PortResult is what CheckPort saw. It never changes. The matcher BeReachable takes it.
type PortResult struct {
	command string
	state   PortState
	detail  string
}

// Command says who looked at which port.
func (r *PortResult) Command() string { return r.command }

// State is what the connection came to.
func (r *PortResult) State() PortState { return r.state }

// Reachable tells whether the port is open.
func (r *PortResult) Reachable() bool { return r.state == Open }

// Reports are what the guest said about it.
func (r *PortResult) Reports() []string {
	if r.detail == "" {
		return nil
	}
	return []string{r.detail}
}

// GomegaString is the result in one line.
func (r *PortResult) GomegaString() string {
	if r == nil {
		return "<no result>"
	}
	text := r.command + ": " + string(r.state)
	if r.detail != "" {
		text += " (" + r.detail + ")"
	}
	return text
}

// CheckPort opens a TCP connection from inside the guest, over the data path, to an address such as "bob:22" or
// "10.0.0.5:80", and closes it again. Nothing but bash is needed in the guest. What the port is, is a result; a name that
// the guest does not know is an error.
func (n *Node) CheckPort(ctx context.Context, address string) (*PortResult, error) {
	return checkPort(ctx, n, n.Name(), address, portWait)
}

func checkPort(ctx context.Context, guest runner, node, address string, wait time.Duration) (*PortResult, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("check a port: %w: write it like bob:22 or 10.0.0.5:80", err)
	}
	// The connection is made by a bash of its own, which timeout can end. $1 and $2 keep a shell from reading the address.
	const connect = `exec 3<>"/dev/tcp/$1/$2"`
	res, err := guest.Run(ctx, Cmd{
		Argv: []string{"timeout", seconds(wait), "bash", "-c", connect, "bash", host, port},
		Env:  map[string]string{"LC_ALL": "C"},
	})
	if err != nil {
		return nil, err
	}
	r := &PortResult{command: fmt.Sprintf("connect from %s to %s", node, address), detail: reason(res.Stderr())}
	switch code, said := res.ExitCode(), res.Stderr(); {
	case code == 0:
		r.state, r.detail = Open, ""
	case code == 124: // timeout(1)
		r.state, r.detail = NoAnswer, "within "+wait.String()
	case code == notFound:
		return nil, missing(node, "bash or no timeout", "bash and coreutils")
	case strings.Contains(said, "Connection refused"):
		r.state = Refused
	case strings.Contains(said, "timed out"):
		r.state = NoAnswer
	case strings.Contains(said, "No route to host"), strings.Contains(said, "unreachable"):
		r.state = Unreachable
	default:
		return nil, fmt.Errorf("check port %s from node %q: %s", address, node, r.detail)
	}
	return r, nil
}

// reason is the end of what bash said first, such as "Connection refused".
func reason(stderr string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	return strings.TrimSpace(line[strings.LastIndex(line, ": ")+1:])
}
