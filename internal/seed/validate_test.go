package seed

import (
	"net/netip"
	"testing"

	. "github.com/onsi/gomega"
)

func TestFilesNamesWhatIsWrong(t *testing.T) {
	cases := map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"no instance id": {func(c *Config) { c.InstanceID = "" }, `instance id "": want 1 to 128 letters`},
		"hostname":       {func(c *Config) { c.Hostname = "Desk_1" }, `hostname "Desk_1": want a DNS label`},
		"fqdn":           {func(c *Config) { c.FQDN = "other.lab" }, `fqdn "other.lab": want it to start with the hostname: "desk."`},
		"nonce":          {func(c *Config) { c.BootNonce = "a b" }, `boot nonce "a b": want at most 128 letters`},
		"host key":       {func(c *Config) { c.HostKey.Private = "x" }, `private host key: ssh: no key found`},
		"public host key": {
			func(c *Config) { c.HostKey.Public = "" },
			`public host key "": want a line as in authorized_keys, such as "ssh-ed25519 AAAA... name"`,
		},
		"root key":       {func(c *Config) { c.RootKeys = []string{"nonsense"} }, `root key "nonsense": want a line as in authorized_keys`},
		"empty user key": {func(c *Config) { c.User.AuthorizedKeys = []string{""} }, `key of user iontest "": want a line`},
		"two keys": {
			func(c *Config) { c.RootKeys = []string{testPublicKey + "\n" + testPublicKey} },
			`want one line, got several`,
		},
		"user":            {func(c *Config) { c.User.Name = "Ion Test" }, `user "Ion Test": want a lower-case letter or underscore`},
		"user's password": {func(c *Config) { c.User.Password = "a\nb" }, `password of user "iontest": want one line`},
		"no user's name":  {func(c *Config) { c.User.Name = "" }, `user: a password or a key is given but no name`},
		"relative path":   {func(c *Config) { c.WriteFiles[0].Path = "etc/x" }, `write_files[0]: path "etc/x": want the absolute path of a file`},
		"path with dots":  {func(c *Config) { c.WriteFiles[1].Path = "/a/../b" }, `write_files[1]: path "/a/../b": want the absolute path`},
		"permissions":     {func(c *Config) { c.WriteFiles[0].Permissions = "rw-" }, `write_files[0]: permissions "rw-": want octal digits such as "0644"`},
		"owner":           {func(c *Config) { c.WriteFiles[0].Owner = "a:b:c" }, `write_files[0]: owner "a:b:c": want user or user:group`},
		"encoding":        {func(c *Config) { c.WriteFiles[0].Encoding = "zip" }, `write_files[0]: encoding "zip": want one of b64, gzip, gz+b64, or none`},
		"package":         {func(c *Config) { c.Packages = []string{"git curl"} }, `packages[0] "git curl": want the name of a package`},
		"empty command":   {func(c *Config) { c.RunCmd = []Command{{}} }, `runcmd[0]: want either a shell line or an argument list`},
		"both commands": {
			func(c *Config) { c.RunCmd = []Command{{Shell: "a", Argv: []string{"a"}}} },
			`runcmd[0]: want either a shell line or an argument list`,
		},
		"NUL command":    {func(c *Config) { c.RunCmd = []Command{{Shell: "a\x00"}} }, `runcmd[0]: want UTF-8 text without NUL bytes`},
		"binary command": {func(c *Config) { c.RunCmd = []Command{{Argv: []string{"\xff"}}} }, `runcmd[0]: want UTF-8 text`},
		"env name":       {func(c *Config) { c.Env = map[string]string{"A-B": ""} }, `env "A-B": want a name of letters`},
		"env value":      {func(c *Config) { c.Env = map[string]string{"A": "b\nc"} }, `env A: the value must be one line`},
		"MAC":            {func(c *Config) { c.Interfaces[0].MAC = "02:00" }, `interface 0: MAC "02:00": want six bytes`},
		"MAC twice": {
			func(c *Config) { c.Interfaces[1].MAC = "02:AA:00:00:00:01" },
			`interface 1: 02:aa:00:00:00:01 is taken by interface 0`,
		},
		"name twice":    {func(c *Config) { c.Interfaces[0].Name = "wan" }, `interface 1: wan is taken by interface 0`},
		"port name":     {func(c *Config) { c.Interfaces[0].Name = "a-name-that-is-long" }, `interface 0: name "a-name-that-is-long": want a letter`},
		"MTU":           {func(c *Config) { c.Interfaces[0].MTU = 9 }, `interface 0: MTU 9: want 68 to 65535`},
		"empty address": {func(c *Config) { c.Interfaces[0].Addrs[1] = netip.Prefix{} }, `interface 0: an address is empty`},
		"gateway": {
			func(c *Config) { c.Interfaces[0].Gateway = netip.MustParseAddr("10.9.0.1") },
			`interface 0: gateway 10.9.0.1 is outside of its networks [10.20.0.5/24 fd00::5/64]`,
		},
		"empty route": {func(c *Config) { c.Interfaces[0].Routes[0] = Route{} }, `interface 0: route to "invalid Prefix": want a network`},
		"route to a host's network": {
			func(c *Config) { c.Interfaces[1].Routes[0].To = netip.MustParsePrefix("10.30.0.1/24") },
			`interface 1: route to "10.30.0.1/24": want a network such as 10.2.0.0/24, without host bits`,
		},
		"default route as a route": {
			func(c *Config) { c.Interfaces[1].Routes[0].To = netip.MustParsePrefix("0.0.0.0/0") },
			`interface 1: route to "0.0.0.0/0": want a network`,
		},
		"route twice": {
			func(c *Config) { c.Interfaces[1].Routes[1].To = netip.MustParsePrefix("10.30.0.0/24") },
			`interface 1: route to 10.30.0.0/24: it has two next hops`,
		},
		"next hop of another family": {
			func(c *Config) { c.Interfaces[0].Routes[0].Via = netip.MustParseAddr("10.20.0.7") },
			`interface 0: route to fd01::/64: the next hop 10.20.0.7 is no address of its family`,
		},
		"next hop elsewhere": {
			func(c *Config) { c.Interfaces[1].Routes[1].Via = netip.MustParseAddr("10.20.0.7") },
			`interface 1: route to 10.31.0.0/16: the next hop 10.20.0.7 is outside of its networks [203.0.113.7/24]`,
		},
		"empty DNS":  {func(c *Config) { c.Interfaces[0].DNS = []netip.Addr{{}} }, `interface 0: a DNS server's address is empty`},
		"empty host": {func(c *Config) { c.Hosts = []Host{{Names: []string{"a"}}} }, `host "a": want an address and at least one name`},
		"host name":  {func(c *Config) { c.Hosts[0].Names[0] = "a b" }, `host name "a b": want letters, digits, dots and dashes`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cfg := full(t)
			_, err := Files(cfg)
			g.Expect(err).NotTo(HaveOccurred())
			test.spoil(&cfg)
			_, err = Files(cfg)
			g.Expect(err).To(MatchError(ContainSubstring(test.want)))
		})
	}
}

func TestFilesTellsAllProblemsAtOnce(t *testing.T) {
	g := NewWithT(t)
	cfg := full(t)
	cfg.InstanceID, cfg.WriteFiles[0].Path, cfg.Interfaces[0].MAC = "", "x", ""
	_, err := Files(cfg)
	g.Expect(err).To(MatchError(And(
		HavePrefix(`make seed for "desk": `),
		ContainSubstring("instance id"), ContainSubstring("write_files[0]"), ContainSubstring("interface 0"))))
}

func TestFilesNamesWhatIsWrongWithUserData(t *testing.T) {
	cases := map[string]struct{ data, want string }{
		"no header":       {"packages: [git]\n", `its first line is "packages: [git]": want one of ["#cloud-config"`},
		"almost a header": {"# cloud-config\n", `cloud-init would ignore it`},
		"bad YAML":        {"#cloud-config\na: [\n", `user_data: read cloud-config: yaml: line`},
		"a list":          {"#cloud-config\n- a\n", `user_data: line 2: want a mapping of cloud-config keys`},
		"users as a map":  {"#cloud-config\nusers: {a: {}}\n", `user_data: line 2: users: want a list: nothing can be added`},
		"bad MIME":        {"Content-Type: text/plain\n\nhello\n", `MIME type "text/plain": want multipart/mixed with a boundary`},
		"no boundary":     {"Content-Type: multipart/mixed; boundary=x\n\nhello\n", `the boundary "x" of its header never occurs`},
		"MIME header":     {"MIME-Version: 1.0\nnonsense\n", `user_data: read MIME headers:`},
		"no MIME type":    {"MIME-Version: 1.0\n\nbody\n", `user_data: read MIME header Content-Type ""`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cfg := minimal(t)
			cfg.UserData = test.data
			_, err := Files(cfg)
			g.Expect(err).To(MatchError(And(HavePrefix(`make user-data for "desk": `), ContainSubstring(test.want))))
		})
	}
}
