package topology

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// digest returns the hex SHA-256 of t as JSON, whose order is fixed, with paths as the file has them.
func digest(t *Topology) string {
	canonical := Topology{Metadata: t.Metadata, Networks: t.Networks, Routers: t.Routers, Seed: t.Seed}
	for _, node := range t.Nodes {
		node.Image = node.imageWritten
		node.Deploy = append([]Deploy(nil), node.Deploy...)
		for i := range node.Deploy {
			node.Deploy[i].Src = node.Deploy[i].written
		}
		canonical.Nodes = append(canonical.Nodes, node)
	}
	data, err := json.Marshal(canonical)
	if err != nil {
		// All fields are of types that JSON can hold; the text keeps two topologies from sharing a digest regardless.
		data = []byte(err.Error() + t.Metadata.Name)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
