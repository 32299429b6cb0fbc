package topology

import (
	"net"
	"net/netip"
)

// Node is one machine.
type Node struct {
	// Name is a DNS label, and the host name of the guest.
	Name string
	// Base is the name in the file: Name without the number that count appends.
	Base string
	// Image is a name in the catalog, an absolute path, or a URL with its digest as #sha256=hex or #sha512=hex.
	Image string
	// MemoryMB is in MiB; a fraction in the file is rounded up.
	MemoryMB int
	// VCPUs is a whole number; a fraction in the file is rounded up.
	VCPUs int
	// DiskMB is the virtual size of the disk in MiB; disk_gb times 1024, rounded up.
	DiskMB int64
	// Env holds variables for every command and login in the guest. It is never nil.
	Env map[string]string
	// Packages is packages and cloud_init.packages in one: sorted, each once, "name" or "name=version".
	Packages  []string
	CloudInit CloudInit
	Deploy    []Deploy
	Ports     []Port
	// Links has at least one entry, in the order of the file. NIC number i of the machine is Links[i].
	Links []Link
	// Metadata is for the author's own use. It is never nil.
	Metadata map[string]string

	at, imageAt mark
	// imageWritten is the image as the file has it; it keeps the place of the file out of the digest.
	imageWritten string
}

// Link is one node's port on one network.
type Link struct {
	// Network is the name of the network.
	Network string
	// Addr is the node's address with the length of the network's prefix.
	Addr netip.Prefix
	// MAC is unicast, locally administered, different for each link of the topology and the same for each run.
	MAC net.HardwareAddr
	// Conditions are merged: the network's, then the node's, then the link's own.
	Conditions Conditions
	// Gateway is the next hop of the default route; it is not valid on any but the node's first link.
	Gateway netip.Addr
	// Routes are further networks of the topology that the default route does not lead to.
	Routes []Route
}

// CloudInit is what the guest's cloud-init is told.
type CloudInit struct {
	// User is the login user, by default "lab".
	User string
	// Password is empty unless the topology asks for one.
	Password          string
	SSHAuthorizedKeys []string
	// Packages are those of the cloud_init section alone; Node.Packages has them too.
	Packages   []string
	RunCmd     []Command
	WriteFiles []File
	// UserData is a further part of user data, with a first line that names its kind, such as #cloud-config.
	UserData string
}

// Command is one entry of runcmd: a line for the shell, or an argv. Exactly one of the two is set.
type Command struct {
	Shell string
	Argv  []string
}

// File is one entry of write_files.
type File struct {
	// Path is absolute in the guest.
	Path    string
	Content string
	// Permissions is an octal number such as "0644", or empty.
	Permissions string
	// Owner is user or user:group, or empty.
	Owner string
	// Encoding is empty or one of cloud-init's names for base64 and gzip.
	Encoding string
	Append   bool
}

// Default values of a node and a network.
const (
	DefaultImage    = "debian-12"
	DefaultUser     = "lab"
	DefaultMemoryMB = 1024
	DefaultVCPUs    = 1
	DefaultDiskGB   = 8
	DefaultMTU      = 1500
	DefaultNetwork  = "lan"
	DefaultSubnet   = "10.13.0.0/24"
)
