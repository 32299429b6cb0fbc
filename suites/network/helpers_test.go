package network_test

import (
	"context"
	"fmt"
	"math"
	"os"

	"github.com/gopacket/gopacket/pcapgo"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// within99 matches a count of events, each of likelihood p, out of n, that lies in the 99 % interval of the binomial
// distribution (by its normal approximation with half an event of continuity).
func within99(n int, p float64) types.GomegaMatcher {
	mean := float64(n) * p
	return BeNumerically("~", mean, 2.576*math.Sqrt(mean*(1-p))+0.5+1e-9)
}

// neighbours has a machine know another one's hardware address for good.
func neighbours(ctx context.Context, of, other *labtest.Node) {
	GinkgoHelper()
	Expect(of.Shell(ctx, fmt.Sprintf(`ping -c 1 -W 10 %[1]s && set -- $(ip -o neigh show %[1]s) &&
ip neigh replace "$1" lladdr "$5" dev "$3" nud permanent && ip neigh show %[1]s`, other.Addr("lan")))).
		To(And(ExitWith(0), OutputContaining("PERMANENT")))
}

// measured is the first measurement, or up to two more, until the matcher is content: what else a host does spoils single
// measurements.
func measured[T any](got T, again func() T, right types.GomegaMatcher) T {
	GinkgoHelper()
	for range 2 {
		ok, err := right.Match(got)
		Expect(err).NotTo(HaveOccurred())
		if ok {
			break
		}
		got = again()
	}
	return got
}

// Programs for the guests' Python.
const (
	digestServer = `
import hashlib, socket
s = socket.create_server(("", 9998))
print("listening", flush=True)
c, _ = s.accept()
h = hashlib.sha256()
while d := c.recv(65536):
    h.update(d)
print(h.hexdigest(), flush=True)
`
	datagrams = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9997))
print("listening")
while True:
    print(s.recv(2000).decode())
`
	counter = `
import socket
s = socket.create_server(("", 9996))
print("listening")
c, _ = s.accept()
expected = 1
for line in c.makefile():
    print("got", int(line))
    if int(line) != expected:
        print("gap")
    expected = int(line) + 1
`
)

// readCapture reads a pcapng file with a library that did not write it: how many frames it has, and its comments.
func readCapture(path string) (frames int, comments []string) {
	GinkgoHelper()
	file, err := os.Open(path)
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	Expect(err).NotTo(HaveOccurred())
	for {
		_, _, options, err := r.ReadPacketDataWithOptions()
		if err != nil {
			return frames, comments
		}
		frames++
		comments = append(comments, options.Comments...)
	}
}
