// Command punch tries to make a hole between two machines behind NAT, for the specs in suites/network: `punch serve` runs
// on a machine that both can reach and tells each the address it sees of the other; `punch try` runs on both at the same
// time, and prints what came of it as one line of JSON.
//
// UDP follows RFC 5128, 3.3, TCP its 3.4: the same local port for the server and the peer, connecting and listening at once.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "punch:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want serve or try")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	addr := flags.String("server", ":7000", "where the server listens, on UDP and TCP")
	session := flags.String("session", "", "what both sides call this try")
	limit := flags.Duration("for", 5*time.Second, "how long to try once both sides are known")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		return serve(ctx, *addr)
	case "try":
		return json.NewEncoder(os.Stdout).Encode(try(ctx, *addr, *session, *limit))
	}
	return fmt.Errorf("%q is neither serve nor try", args[0])
}

// report is what one side found.
type report struct {
	UDP, TCP result
}

// result is the outcome of one protocol, seen from one side.
type result struct {
	// Seen is the address that the server sees of this side, Told the one it told of the other.
	Seen, Told string
	// From is where the other side was heard from; empty when it was not.
	From string
	// OK tells that what this side sent has been answered over the hole.
	OK  bool
	Err string `json:",omitempty"`
}

// try punches with both protocols at once.
func try(ctx context.Context, server, session string, limit time.Duration) report {
	var r report
	var wg sync.WaitGroup
	wg.Go(func() { r.UDP = tryUDP(ctx, server, session, limit) })
	wg.Go(func() { r.TCP = tryTCP(ctx, server, session, limit) })
	wg.Wait()
	return r
}

const (
	every  = 100 * time.Millisecond // between two packets, and two attempts to connect
	linger = time.Second            // how long to go on answering after success
	meet   = 30 * time.Second       // how long to wait for the other side to come
)

// greeting is what goes to the server and over the hole.
type greeting struct {
	Session string
	// Answer tells that the sender has heard the other side.
	Answer bool
}

// introduction is the server's answer. Peer is empty until the other side has come.
type introduction struct{ You, Peer string }
