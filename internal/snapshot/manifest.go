package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// format is the version of what is in an entry. It is part of every key, so entries of another version are never opened.
const format = 3

// Inputs are all that a saved lab was made from, by name: versions, names and digests. Equal inputs make equal machines.
type Inputs map[string]string

// Key is the digest of the inputs and of the format of entries: 32 hexadecimal digits.
func (in Inputs) Key() string {
	hash := sha256.New()
	fmt.Fprintf(hash, "format %d\n", format)
	for _, name := range slices.Sorted(maps.Keys(in)) {
		fmt.Fprintf(hash, "%q=%q\n", name, in[name])
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// Manifest says what is in an entry. It holds private keys, which are in the guests' memory too: it is readable by its
// owner only.
type Manifest struct {
	Key      string
	Topology string // its name
	Inputs   Inputs
	Created  time.Time
	// Paused is when the machines stood still: their clocks stand at that time after a restore.
	Paused    time.Time
	ClientKey KeyPair
	Nodes     []Node
	// Mappings are those of the lab's routers, as the lab writes them; empty where no guest had reason to remember one.
	Mappings json.RawMessage `json:",omitempty"`
	// Files are the entry's files by name, without the manifest. Commit fills it in.
	Files map[string]File
}

// KeyPair is an SSH key.
type KeyPair struct {
	Private string // OpenSSH PEM
	Public  string // one line in authorized_keys form
}

// Node is what a restored machine is known by.
type Node struct {
	Name       string
	UUID       string
	MACs       []string
	InstanceID string // cloud-init's
	Nonce      string // in a file of the guest; tells this boot from others
	HostKey    KeyPair
	// Lag is by how much the guest's clock was behind the host's when it was paused.
	Lag time.Duration
}

// File is a file of an entry.
type File struct {
	Size   int64
	Data   int64  // of Size, what is not in holes
	CRC32C uint32 // checked each time the entry is opened
	SHA256 string
}

// Bytes is the size of the entry's files together, without holes.
func (m *Manifest) Bytes() int64 {
	var sum int64
	for _, file := range m.Files {
		sum += file.Data
	}
	return sum
}

// write writes the manifest and returns its digest.
func (m *Manifest) write(path string) (digest string, err error) {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	return digestOf(data), syncFile(path)
}

// readManifest reads a manifest and checks it against its digest, unless that is empty.
func readManifest(path, digest string) (*Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if digest != "" && digestOf(data) != digest {
		return nil, fmt.Errorf("read manifest: %s has changed since it was written", path)
	}
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", path, err)
	}
	return m, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
