// Package seed makes the cloud-init NoCloud volume that gives a machine its name, users, keys and addresses on its
// first boot. Files turns a Config into the three files that NoCloud knows, WriteFile puts them on an ISO 9660 volume
// labelled cidata.
//
// Facts about the volume and the files: https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html.
// Every key that is used here passes the schema of cloud-init 22.4 (Debian 12) and is not deprecated in later ones,
// because a deprecated key alone makes `cloud-init status` say degraded.
package seed

import (
	"fmt"
	"net/netip"
)

// Names of the files on the volume. cloud-init takes exactly these and silently ignores all others.
const (
	UserDataName      = "user-data"
	MetaDataName      = "meta-data"
	NetworkConfigName = "network-config"
)

// FinalMarker starts the line that a machine prints on its console when cloud-init has ended; see FinalMessage.
const FinalMarker = "LABTEST-FINAL"

// Config describes one machine as cloud-init shall make it.
type Config struct {
	InstanceID string // decides whether cloud-init treats the boot as a first one; required
	Hostname   string // one DNS label; required
	FQDN       string // optional; must start with Hostname and a dot

	User     User     // ordinary user; none if its Name is empty
	RootKeys []string // authorized_keys lines that may log in as root
	HostKey  HostKey  // the machine's only SSH host key; required

	Packages   []string  // only what the image does not have: each one costs time at boot
	RunCmd     []Command // run once, in order, as root, near the end of the first boot
	WriteFiles []File    // written before SSH accepts logins
	Env        map[string]string
	UserData   string // the author's own: cloud-config, a #! script, MIME, or any other form that cloud-init knows

	Interfaces []Interface
	Hosts      []Host // added to /etc/hosts
	BootNonce  string // written to NoncePath and printed by FinalMessage; tells this seed from an earlier one
}

// NoncePath is the file in the guest that holds Config.BootNonce.
const NoncePath = "/etc/labtest/nonce"

// User is an ordinary account: a home directory, bash, and sudo without a password.
// The name root is allowed and only adds a password or keys to the account that exists.
type User struct {
	Name           string
	Password       string   // plain text; empty locks the password and forbids password logins over SSH
	AuthorizedKeys []string // besides Config.RootKeys, which may log in as this user too
}

// Command is one step of Config.RunCmd. Exactly one of its fields is set.
type Command struct {
	Shell string   // a line of POSIX shell
	Argv  []string // a program and its arguments, which no shell changes
}

// File is a file that cloud-init writes.
type File struct {
	Path        string // absolute
	Content     string // any bytes; what is not UTF-8 text travels as base64
	Permissions string // octal such as "0644", which is also what an empty value means
	Owner       string // user or user:group; empty is root:root
	Encoding    string // how Content is encoded already: empty, b64, gzip or gz+b64, as in cloud-init's write_files
	Append      bool   // adds to a file that exists
}

// Interface is a network port of the machine. It is found by its MAC, never by its name or place.
type Interface struct {
	MAC     string
	Name    string // renames the port when set; else it keeps the kernel's name
	Addrs   []netip.Prefix
	Gateway netip.Addr // the default route; only the first port that has one gets it, for each of IPv4 and IPv6
	Routes  []Route    // further routes out of this port
	DNS     []netip.Addr
	Search  []string
	MTU     int // bytes; 0 leaves the default
}

// Route is a static route: packets for To go to Via, which is on one of the port's own networks.
type Route struct {
	To  netip.Prefix // no default route: that is Interface.Gateway
	Via netip.Addr
}

// Host is a line of /etc/hosts.
type Host struct {
	Addr  netip.Addr
	Names []string
}

// FinalMessage returns the line that the machine prints on its console each time cloud-init has ended, well or badly.
func FinalMessage(cfg Config) string {
	if cfg.BootNonce == "" {
		return FinalMarker + " " + cfg.InstanceID
	}
	return FinalMarker + " " + cfg.InstanceID + " " + cfg.BootNonce
}

// Files returns the content of the volume by file name. The same Config gives the same bytes. The error joins all that
// is wrong with cfg. The user-data hold the private host key: keep them out of logs and artifacts.
func Files(cfg Config) (map[string][]byte, error) {
	if err := validate(cfg); err != nil {
		return nil, fmt.Errorf("make seed for %q: %w", cfg.Hostname, err)
	}
	return render(cfg)
}

func render(cfg Config) (map[string][]byte, error) {
	user, err := userData(cfg)
	if err != nil {
		return nil, fmt.Errorf("make %s for %q: %w", UserDataName, cfg.Hostname, err)
	}
	meta, err := encode(metaData{InstanceID: cfg.InstanceID, LocalHostname: cfg.Hostname})
	if err != nil {
		return nil, fmt.Errorf("make %s for %q: %w", MetaDataName, cfg.Hostname, err)
	}
	network, err := encode(networkConfig(cfg.Interfaces))
	if err != nil {
		return nil, fmt.Errorf("make %s for %q: %w", NetworkConfigName, cfg.Hostname, err)
	}
	return map[string][]byte{UserDataName: user, MetaDataName: meta, NetworkConfigName: network}, nil
}

type metaData struct {
	InstanceID    string `yaml:"instance-id"`
	LocalHostname string `yaml:"local-hostname"`
}
