package seed

import (
	"crypto/rand"
	"testing"

	. "github.com/onsi/gomega"
)

func TestDigestLeavesOutWhatEachMachineDraws(t *testing.T) {
	g := NewWithT(t)
	cfg := full(t)
	want, err := Digest(cfg)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(want).To(MatchRegexp(`^[0-9a-f]{32}$`))
	host, err := NewHostKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	client, err := NewClientKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	cfg.InstanceID, cfg.BootNonce, cfg.HostKey, cfg.RootKeys = "other", "other", host, []string{client.Public}
	g.Expect(Digest(cfg)).To(Equal(want))
}

func TestDigestChangesWithTheMachine(t *testing.T) {
	g := NewWithT(t)
	want, err := Digest(full(t))
	g.Expect(err).NotTo(HaveOccurred())
	for name, change := range map[string]func(*Config){
		"name":      func(c *Config) { c.Hostname, c.FQDN = "other", "" },
		"package":   func(c *Config) { c.Packages = []string{"git"} },
		"file":      func(c *Config) { c.WriteFiles[0].Content = "other" },
		"env":       func(c *Config) { c.Env["PLAIN"] = "other" },
		"user data": func(c *Config) { c.UserData = "#cloud-config\nfoo: bar\n" },
		"MTU":       func(c *Config) { c.Interfaces[1].MTU = 1300 },
		"root keys": func(c *Config) { c.RootKeys = append(c.RootKeys, testPublicKey) },
		"user keys": func(c *Config) { c.User.AuthorizedKeys = nil },
	} {
		cfg := full(t)
		change(&cfg)
		g.Expect(Digest(cfg)).NotTo(Equal(want), name)
	}
	broken := full(t)
	broken.Hostname = ""
	_, err = Digest(broken)
	g.Expect(err).To(MatchError(HavePrefix(`digest seed for "": `)))
}
