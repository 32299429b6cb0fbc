package seed

import (
	"crypto/rand"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const testPublicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHuCbaXRw8ZJwrKk6B+IIbvvE+rUPK2WM5WCfqHxdvWK lab"

// testHostKey is fixed so that golden files are; it is nobody's.
func testHostKey(t *testing.T) HostKey {
	t.Helper()
	private, err := os.ReadFile("testdata/host_key")
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile("testdata/host_key.pub")
	if err != nil {
		t.Fatal(err)
	}
	return HostKey{Private: string(private), Public: string(public)}
}

func minimal(t *testing.T) Config {
	t.Helper()
	return Config{InstanceID: "lab-7f3a-desk", Hostname: "desk", HostKey: testHostKey(t), RootKeys: []string{testPublicKey}}
}

func full(t *testing.T) Config {
	t.Helper()
	cfg := minimal(t)
	cfg.FQDN = "desk.lab"
	cfg.BootNonce = "n0nce"
	cfg.User = User{Name: "iontest", Password: "ion: #test", AuthorizedKeys: []string{testPublicKey + "-own"}}
	cfg.Packages = []string{"git", "curl"}
	cfg.RunCmd = []Command{{Shell: "echo hello > /root/hello"}, {Argv: []string{"test", "a b", "=", "a'b\"$HOME"}}}
	cfg.WriteFiles = []File{
		{Path: "/etc/motd", Content: "line one\n  yes: [no]\n"},
		{Path: "/home/iontest/bin", Content: "\x00\xff\x01", Permissions: "0755", Owner: "iontest:iontest"},
		{Path: "/etc/added", Content: "bW9yZQ==", Encoding: "b64", Append: true},
	}
	cfg.Env = map[string]string{"PLAIN": "two words", "HARD": `a#b'c"d$e\f`}
	cfg.Hosts = []Host{{Addr: netip.MustParseAddr("10.0.0.9"), Names: []string{"relay", "relay.lan"}}}
	cfg.Interfaces = []Interface{
		{
			MAC:     "02:AA:00:00:00:01",
			Addrs:   []netip.Prefix{netip.MustParsePrefix("10.20.0.5/24"), netip.MustParsePrefix("fd00::5/64")},
			Gateway: netip.MustParseAddr("10.20.0.1"),
			DNS:     []netip.Addr{netip.MustParseAddr("10.20.0.1")},
			Search:  []string{"lan"},
			Routes:  []Route{{To: netip.MustParsePrefix("fd01::/64"), Via: netip.MustParseAddr("fd00::1")}},
		},
		{
			MAC: "02:aa:00:00:00:02", Name: "wan", MTU: 1400,
			Addrs:   []netip.Prefix{netip.MustParsePrefix("203.0.113.7/24")},
			Gateway: netip.MustParseAddr("203.0.113.1"),
			Routes: []Route{
				{To: netip.MustParsePrefix("10.30.0.0/24"), Via: netip.MustParseAddr("203.0.113.2")},
				{To: netip.MustParsePrefix("10.31.0.0/16"), Via: netip.MustParseAddr("203.0.113.3")},
			},
		},
		{MAC: "02:aa:00:00:00:03"},
	}
	return cfg
}

func TestFilesGolden(t *testing.T) {
	withUserData := full(t)
	withUserData.UserData = "#cloud-config\nusers:\n- name: iontest\n  ssh_authorized_keys: [" + testPublicKey + "-theirs]\n" +
		"disable_root: true\nhostname: other\nruncmd: [date]\n"
	cases := map[string]Config{"minimal": minimal(t), "full": full(t), "multipart": withUserData}
	for name, cfg := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			files, err := Files(cfg)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files).To(HaveLen(3))
			for file, got := range files {
				golden := filepath.Join("testdata", name, file)
				if *update {
					g.Expect(os.MkdirAll(filepath.Dir(golden), 0o755)).To(Succeed())
					g.Expect(os.WriteFile(golden, got, 0o644)).To(Succeed())
				}
				want, err := os.ReadFile(golden)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(got)).To(Equal(string(want)), golden)
			}
		})
	}
}

func TestFilesAreTheSameEachTime(t *testing.T) {
	g := NewWithT(t)
	first, err := Files(full(t))
	g.Expect(err).NotTo(HaveOccurred())
	for range 20 {
		again, err := Files(full(t))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(again).To(Equal(first))
	}
}

func TestFinalMessage(t *testing.T) {
	g := NewWithT(t)
	g.Expect(FinalMessage(Config{InstanceID: "i"})).To(Equal("LABTEST-FINAL i"))
	g.Expect(FinalMessage(Config{InstanceID: "i", BootNonce: "n"})).To(Equal("LABTEST-FINAL i n"))
}

func TestKeysAreUsablePairs(t *testing.T) {
	g := NewWithT(t)
	host, err := NewHostKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	client, err := NewClientKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(client.Private).NotTo(Equal(host.Private))
	for private, public := range map[string]string{host.Private: host.Public, client.Private: client.Public} {
		signer, err := ssh.ParsePrivateKey([]byte(private))
		g.Expect(err).NotTo(HaveOccurred())
		parsed, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(public))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(rest).To(BeEmpty())
		g.Expect(parsed.Marshal()).To(Equal(signer.PublicKey().Marshal()))
		g.Expect(parsed.Type()).To(Equal("ssh-ed25519"))
	}
}

func TestKeysSayThatRandomBytesRanOut(t *testing.T) {
	g := NewWithT(t)
	none, err := os.Open(os.DevNull)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = none.Close() })
	_, err = NewHostKey(none)
	g.Expect(err).To(MatchError("make SSH host key: read random bytes: EOF"))
	_, err = NewClientKey(none)
	g.Expect(err).To(MatchError("make SSH client key: read random bytes: EOF"))
}
