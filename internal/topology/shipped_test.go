package topology_test

import (
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

const shipped = "../../topologies"

// networked are the topologies about networks. They share one set of packages, so that one derived image serves all.
func networked() map[string]int {
	return map[string]int{"lan": 2, "wan-two-sites": 2, "nat-matrix": 3, "cgnat": 3, "satellite": 2, "federation-10": 10}
}

func TestShippedTopologiesLoad(t *testing.T) {
	files, err := filepath.Glob(shipped + "/*.yaml")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(len(files)).To(BeNumerically(">=", 14))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			g := NewWithT(t)
			loaded, err := topology.Load(file)
			g.Expect(err).NotTo(HaveOccurred())
			expectInvariants(g, loaded)
			g.Expect(loaded.Metadata.Name+".yaml").To(Equal(filepath.Base(file)), "the name is not that of the file")
		})
	}
}

func TestNetworkedTopologiesAreSmallAndShareAnImage(t *testing.T) {
	for name, nodes := range networked() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			loaded, err := topology.Load(filepath.Join(shipped, name+".yaml"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(loaded.Nodes).To(HaveLen(nodes))
			for _, node := range loaded.Nodes {
				g.Expect(node.Packages).To(Equal([]string{"coturn", "iperf3", "iputils-ping"}), node.Name)
				g.Expect(node.Image).To(Equal(topology.DefaultImage))
				g.Expect(node.MemoryMB).To(BeNumerically("<=", 512))
			}
		})
	}
}

// TestNATMatrixRoutes follows what a STUN test needs: both of the server's addresses are reached from behind each NAT,
// and no route leads in.
func TestNATMatrixRoutes(t *testing.T) {
	g := NewWithT(t)
	matrix, err := topology.Load(shipped + "/nat-matrix.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(routesOf(matrix)).To(Equal(`alice 192.168.10.5/24: default via 192.168.10.2
bob 192.168.20.5/24: default via 192.168.20.2
server 203.0.113.50/24: default via 203.0.113.1
server 198.51.100.50/24:
gw-a inside 192.168.10.2/24:
gw-a outside 203.0.113.11/24: 198.51.100.0/24 via 203.0.113.2, 0.0.0.0/0 via 203.0.113.1
gw-b inside 192.168.20.2/24:
gw-b outside 203.0.113.12/24: 198.51.100.0/24 via 203.0.113.2, 0.0.0.0/0 via 203.0.113.1
core inside 198.51.100.2/24:
core outside 203.0.113.2/24: 0.0.0.0/0 via 203.0.113.1
`))
	server, _ := matrix.Node("server")
	g.Expect(server.CloudInit.WriteFiles[0].Content).To(And(
		ContainSubstring("listening-ip="+server.Links[0].Addr.Addr().String()),
		ContainSubstring("listening-ip="+server.Links[1].Addr.Addr().String())), "the STUN server's addresses are others")
}
