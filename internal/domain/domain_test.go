package domain

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func config() Config {
	return Config{
		Name: "lab-7f3a-desk",
		UUID: "4dea22b3-1d52-4d8f-b5a9-5e0c1c4f7a10",
		Labels: Labels{
			Lab: "7f3a", Owner: "1000:4242:991", Topology: "two-sites", TopologyDigest: "sha256:ab12", Node: "desk",
			Addresses: map[string]string{"wan": "203.0.113.7", "lan": "10.20.0.5"},
		},
		MemoryMB: 1024, VCPUs: 2, Accel: AccelKVM, Emulator: "/usr/bin/qemu-system-x86_64",
		Disk:    Disk{Path: "/run/labtest/7f3a/desk.qcow2", Format: "qcow2"},
		Seed:    "/run/labtest/7f3a/desk-seed.iso",
		Console: Console{Socket: "/run/labtest/7f3a/desk.con", Log: "/run/labtest/7f3a/desk.log"},
		NICs:    []NIC{{MAC: "02:AA:00:00:00:01", Socket: "/run/labtest/7f3a/desk.n0"}},
		Agent:   "/run/labtest/7f3a/desk.ga",
	}
}

func goldenConfigs() map[string]Config {
	kvm, tcg, direct, bios, uefi, twoNICs, restored := config(), config(), config(), config(), config(), config(), config()
	tcg.Accel = AccelTCG
	direct.Accel, direct.Kernel, direct.Initrd = AccelTCG, "/cache/vmlinuz", "/cache/initrd.img"
	direct.Cmdline = `root=/dev/vda rw console=ttyS0 quote="a<b&c"`
	bios.Disk.Format, bios.Seed, bios.Agent, bios.NICs = "raw", "", "", nil
	bios.Firmware.Kind, bios.Labels.Addresses = FirmwareBIOS, nil
	uefi.Firmware = Firmware{
		Kind: FirmwareUEFI, Code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
		VarsTemplate: "/usr/share/OVMF/OVMF_VARS_4M.fd", Vars: "/run/labtest/7f3a/desk.vars",
	}
	twoNICs.NICs = append(twoNICs.NICs, NIC{MAC: "02:aa:00:00:00:02", Socket: "/run/labtest/a,b/n1", MTU: 9000})
	restored.Accel, restored.Memory, restored.NICs = AccelTCG, "/cache/a,b/desk.memory", nil
	return map[string]Config{
		"kvm": kvm, "tcg": tcg, "direct-kernel": direct, "bios": bios, "uefi": uefi, "two-nics": twoNICs, "restored": restored,
	}
}

func TestXMLGolden(t *testing.T) {
	for name, cfg := range goldenConfigs() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := XML(cfg)
			g.Expect(err).NotTo(HaveOccurred())
			golden := filepath.Join("testdata", name+".xml")
			if *update {
				g.Expect(os.WriteFile(golden, []byte(got+"\n"), 0o644)).To(Succeed())
			}
			want, err := os.ReadFile(golden)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got + "\n").To(Equal(string(want)))

			labels, err := ParseLabels(got)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(labels).To(Equal(cfg.Labels))
		})
	}
}

func TestXMLFitsLibvirtsSchema(t *testing.T) {
	validator, err := exec.LookPath("virt-xml-validate")
	if _, lint := exec.LookPath("xmllint"); err != nil || lint != nil {
		t.Skip("virt-xml-validate does not work here: apt install libvirt-clients libxml2-utils")
	}
	for name := range goldenConfigs() {
		out, err := exec.CommandContext(t.Context(), validator, filepath.Join("testdata", name+".xml"), "domain").CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestXMLNamesWhatIsWrong(t *testing.T) {
	long := "/run/" + strings.Repeat("x", 103)
	cases := map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"name":           {func(c *Config) { c.Name = "a/b" }, `name "a/b": want 1 to 128 letters`},
		"UUID":           {func(c *Config) { c.UUID = "4DEA" }, `UUID "4DEA": want lower-case hexadecimal digits such as`},
		"lab label":      {func(c *Config) { c.Labels.Lab = "" }, `label id is empty: without it nobody could tell whose domain this is`},
		"label text":     {func(c *Config) { c.Labels.Owner = "a\x01" }, `label "a\x01" holds characters that XML cannot carry`},
		"address label":  {func(c *Config) { c.Labels.Addresses = map[string]string{"a": "\x02"} }, `label "\x02" holds characters`},
		"memory":         {func(c *Config) { c.MemoryMB = 0 }, `memory of 0 MiB: want at least 1`},
		"CPUs":           {func(c *Config) { c.VCPUs = -1 }, `-1 virtual CPUs: want at least 1`},
		"accelerator":    {func(c *Config) { c.Accel = "xen" }, `accelerator "xen": want kvm or tcg`},
		"architecture":   {func(c *Config) { c.Arch = "aarch64" }, `architecture "aarch64": only x86_64 is supported`},
		"emulator":       {func(c *Config) { c.Emulator = "qemu" }, `emulator "qemu": want an absolute path`},
		"no disk":        {func(c *Config) { c.Disk.Path = "" }, `disk: the path is missing`},
		"disk format":    {func(c *Config) { c.Disk.Format = "vmdk" }, `disk format "vmdk": want qcow2 or raw`},
		"seed":           {func(c *Config) { c.Seed = "seed.iso" }, `seed "seed.iso": want an absolute path`},
		"odd path":       {func(c *Config) { c.Seed = "/a\nb" }, `seed "/a\nb": want a path without control characters`},
		"console":        {func(c *Config) { c.Console.Socket = "" }, `console socket: the path is missing`},
		"console log":    {func(c *Config) { c.Console.Log = "" }, `console log: the path is missing`},
		"long console":   {func(c *Config) { c.Console.Socket = long }, `the path has 108 bytes and a unix socket's may have 107: use a shorter run folder`},
		"long agent":     {func(c *Config) { c.Agent = long }, `agent socket "/run/xxx`},
		"long NIC":       {func(c *Config) { c.NICs[0].Socket = long }, `NIC 0: socket "/run/xxx`},
		"no kernel":      {func(c *Config) { c.Cmdline = "ro" }, `an initrd or a kernel command line is given but no kernel`},
		"kernel":         {func(c *Config) { c.Kernel = "vmlinuz" }, `kernel "vmlinuz": want an absolute path`},
		"initrd":         {func(c *Config) { c.Kernel, c.Initrd = "/k", "i" }, `initrd "i": want an absolute path`},
		"command line":   {func(c *Config) { c.Kernel, c.Cmdline = "/k", "\x01" }, `kernel command line "\x01" holds characters`},
		"firmware":       {func(c *Config) { c.Firmware.Kind = "coreboot" }, `firmware "coreboot": want bios or uefi`},
		"UEFI":           {func(c *Config) { c.Firmware.Kind = FirmwareUEFI }, "UEFI code: the path is missing\nUEFI variables template: the path"},
		"BIOS and files": {func(c *Config) { c.Firmware.Code = "/x" }, `firmware files are given but the firmware is the BIOS: want the kind uefi`},
		"MAC":            {func(c *Config) { c.NICs[0].MAC = "02-00" }, `NIC 0: MAC "02-00": want six bytes such as`},
		"MAC dashes":     {func(c *Config) { c.NICs[0].MAC = "02-00-00-00-00-01" }, `NIC 0: MAC "02-00-00-00-00-01": want six bytes`},
		"multicast MAC":  {func(c *Config) { c.NICs[0].MAC = "01:00:00:00:00:01" }, `NIC 0: MAC 01:00:00:00:00:01 is a multicast address`},
		"MTU":            {func(c *Config) { c.NICs[0].MTU = 1 }, `NIC 0: MTU 1: want 68 to 65535`},
		"same NIC twice": {
			func(c *Config) { c.NICs = append(c.NICs, c.NICs[0]) },
			"NIC 1: MAC 02:aa:00:00:00:01 is another NIC's too\nNIC 1: socket \"/run/labtest/7f3a/desk.n0\" is another NIC's too",
		},
		"too many NICs": {func(c *Config) { c.NICs = make([]NIC, 13) }, `13 NICs: want at most 12`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cfg := config()
			test.spoil(&cfg)
			_, err := XML(cfg)
			g.Expect(err).To(MatchError(And(HavePrefix("define domain "), ContainSubstring(test.want))))
		})
	}
}

func TestXMLTellsAllProblemsAtOnce(t *testing.T) {
	g := NewWithT(t)
	_, err := XML(Config{})
	g.Expect(strings.Split(err.Error(), "\n")).To(HaveLen(13))
}

func TestTheLastNICFitsItsSlot(t *testing.T) {
	g := NewWithT(t)
	nics := make([]NIC, MaxNICs)
	args := planNICs(nics)
	g.Expect(args[len(args)-1]).To(ContainSubstring("id=nic11,mac=,bus=pcie.0,addr=0x1b,"))
}
