package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"ionlab/internal/domain"
	"ionlab/internal/guest"
	"ionlab/internal/image"
	"ionlab/internal/seed"
)

// place decides where the node's files lie and begins to follow its console.
func (n *Node) place(int) {
	l := n.lab
	n.files = nodeFiles{
		overlay: filepath.Join(l.stateDir("disks"), n.Name()+".qcow2"),
		seed:    filepath.Join(l.stateDir("disks"), n.Name()+".iso"),
		vars:    filepath.Join(l.stateDir("disks"), n.Name()+".vars.fd"),
		log:     filepath.Join(l.stateDir("consoles"), n.Name()+".log"),
		serial:  filepath.Join(l.runDir("s"), n.Name()+".console"),
		agent:   filepath.Join(l.runDir("s"), n.Name()+".agent"),
		ssh:     filepath.Join(l.runDir("d"), n.Name()+".ssh"),
		note:    filepath.Join(l.runDir("d"), n.Name()+".json"),
	}
	var sink io.Writer
	if l.cfg.Console != nil {
		sink = l.cfg.Console(n.Name())
	}
	console := newConsole(n.files.log, sink, n.alarm)
	n.mu.Lock()
	n.console = console
	n.mu.Unlock()
	l.consoles.add(console)
}

// start makes the node's disks, its domain, and waits until it is provisioned.
func (n *Node) start(ctx context.Context) error {
	n.setStatus("making disks")
	if err := n.makeDisks(ctx); err != nil {
		return &StageError{Node: n.Name(), Stage: "disks", Err: err}
	}
	turn, err := n.awaitBootTurn(ctx)
	if err != nil {
		return &StageError{Node: n.Name(), Stage: "turn", Err: err}
	}
	defer turn.end()
	n.setStatus("creating domain")
	l, err := n.ignite(ctx)
	if err != nil {
		return &StageError{Node: n.Name(), Stage: "domain", Err: err, Tail: n.console.last(12), Hint: "libvirt or QEMU refused to start the machine; `labtest doctor` checks both"}
	}
	stages := n.bootStages()
	if err := n.settle(ctx, l, stages[:afterLogin]); err != nil {
		return err
	}
	turn.end()
	if err := n.settle(ctx, l, stages[afterLogin:]); err != nil {
		return err
	}
	n.setProvisioned(true)
	return nil
}

// furnish copies what the topology deploys into a provisioned node, which then is ready.
func (n *Node) furnish(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	if err := n.deploy(ctx, l); err != nil {
		n.setStatus("failed at deploy")
		return err
	}
	n.ready()
	return nil
}

// diskSize is what the guest sees of its disk, in bytes.
func (n *Node) diskSize() int64 { return max(n.spec.DiskMB<<20, n.image.VirtualSize) }

func (n *Node) makeDisks(ctx context.Context) error {
	if err := n.lab.cfg.Host.Overlay(ctx, n.files.overlay, n.image.Disk, n.image.Format, n.diskSize()); err != nil {
		return err
	}
	if err := seed.WriteFile(n.files.seed, n.seedConfig()); err != nil {
		return err
	}
	return errors.Join(n.lab.giveToQEMU(n.files.overlay), n.lab.giveToQEMU(n.files.seed))
}

// instanceID is what cloud-init tells boots of this node from others by. A restored node has that of its first boot.
func (n *Node) instanceID() string {
	if n.instance != "" {
		return n.instance
	}
	return "labtest-" + n.lab.ID() + "-" + n.Name()
}

func (n *Node) seedConfig() seed.Config {
	spec := n.spec
	cfg := seed.Config{
		InstanceID: n.instanceID(), Hostname: n.Name(), FQDN: n.Name() + ".lab",
		User:     seed.User{Name: spec.CloudInit.User, Password: spec.CloudInit.Password, AuthorizedKeys: spec.CloudInit.SSHAuthorizedKeys},
		RootKeys: []string{n.lab.key.Public}, HostKey: n.hostKey,
		Env: spec.Env, UserData: spec.CloudInit.UserData, BootNonce: n.uuid,
	}
	if !n.image.PackagesBaked {
		cfg.Packages = spec.Packages
	}
	for _, c := range spec.CloudInit.RunCmd {
		cfg.RunCmd = append(cfg.RunCmd, seed.Command(c))
	}
	for _, f := range spec.CloudInit.WriteFiles {
		cfg.WriteFiles = append(cfg.WriteFiles, seed.File{
			Path: f.Path, Content: f.Content, Permissions: f.Permissions, Owner: f.Owner, Encoding: f.Encoding, Append: f.Append,
		})
	}
	cfg.Interfaces = n.interfaces()
	return cfg
}

func (n *Node) interfaces() []seed.Interface {
	var out []seed.Interface
	for _, link := range n.spec.Links {
		network, ok := n.lab.topo.Network(link.Network)
		if !ok {
			continue // the topology was checked
		}
		part := seed.Interface{MAC: link.MAC.String(), MTU: network.MTU, Search: []string{"lab"}}
		part.Addrs = append(part.Addrs, link.Addr)
		part.DNS = append(part.DNS, network.Gateway)
		part.Gateway = link.Gateway
		for _, route := range link.Routes {
			part.Routes = append(part.Routes, seed.Route{To: route.To, Via: route.Via})
		}
		out = append(out, part)
	}
	return out
}

// ignite creates the node's domain and begins to watch it.
func (n *Node) ignite(ctx context.Context) (*life, error) {
	if _, err := n.lab.running(); err != nil {
		return nil, err
	}
	l := newLife()
	xml, err := n.bootXML(l)
	if err != nil {
		return nil, err
	}
	// What an earlier boot printed and nobody has read yet is not this one's. There is no file before the first boot.
	_ = n.console.read()
	n.console.reset()
	return n.launch(l, xml, func(h Hypervisor) (Machine, error) { return h.Create(ctx, n.domainName(), xml) })
}

// launch has create start the node's domain, makes l the node's life and begins to watch it.
func (n *Node) launch(l *life, xml string, create func(Hypervisor) (Machine, error)) (*life, error) {
	hypervisor, err := n.lab.running()
	if err != nil {
		return nil, err
	}
	if l.guest, err = n.newGuest(l); err != nil {
		return nil, err
	}
	if err := n.enter(l, xml); err != nil {
		return nil, errors.Join(err, l.guest.Close())
	}
	machine, err := create(hypervisor)
	if err != nil {
		n.leave(l)
		return nil, errors.Join(err, l.guest.Close())
	}
	l.begin(machine)
	if !n.follow(l) {
		return nil, ErrClosed // and the hypervisor took the machine along
	}
	return l, nil
}

// domainName is the same in every lab of the topology, because a saved domain keeps its name. Each lab has a hypervisor
// of its own, so names do not clash; the labels say whose a domain is.
func (n *Node) domainName() string {
	topology := n.lab.topo.Metadata.Name
	return topology[:min(len(topology), 48)] + "-" + n.Name()
}

// domainXML defines the node's machine. Its memory is that of an image, or empty.
func (n *Node) domainXML(memory string) (string, error) {
	cfg, err := n.domainConfig()
	if err != nil {
		return "", err
	}
	cfg.Memory = memory
	return domain.XML(cfg)
}

// noInit is the word of the kernel's command line that cloud-init's generator looks for (ds-identify and cloud-init-generator(8)).
const noInit = "cloud-init=disabled"

// bootXML is the definition of a domain that boots from its disk. A node that was provisioned before boots without cloud-init, where
// nothing that a topology can ask for is to be done at each boot: that is a third of what the boot takes. user_data may ask
// for more, and an image that boots by its own loader has a command line of its own.
func (n *Node) bootXML(l *life) (string, error) {
	cfg, err := n.domainConfig()
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	again := n.provisioned && n.spec.CloudInit.UserData == "" && cfg.Kernel != ""
	n.mu.Unlock()
	if again {
		cfg.Cmdline += " " + noInit
	}
	l.leaveOutInit(again)
	return domain.XML(cfg)
}

func (n *Node) domainConfig() (domain.Config, error) {
	l, img := n.lab, n.image
	cfg := domain.Config{
		Name: n.domainName(), UUID: n.uuid, MemoryMB: n.spec.MemoryMB, VCPUs: n.spec.VCPUs,
		Accel: l.Accelerator(), Emulator: Emulator, Arch: "x86_64",
		Disk: domain.Disk{Path: n.files.overlay, Format: "qcow2"}, Seed: n.files.seed,
		Console: domain.Console{Socket: n.files.serial, Log: n.files.log}, Agent: n.files.agent,
		Kernel: img.Kernel, Initrd: img.Initrd, Cmdline: img.Cmdline,
		Labels: domain.Labels{
			Lab: l.ID(), Owner: l.cfg.Owner, Topology: l.topo.Metadata.Name, TopologyDigest: l.topo.Digest,
			Node: n.Name(), Addresses: map[string]string{},
		},
	}
	firmware, err := n.firmware(img)
	if err != nil {
		return cfg, err
	}
	cfg.Firmware = firmware
	for _, link := range n.spec.Links {
		socket, err := l.fabric.Socket(n.Name(), link.Network)
		if err != nil {
			return cfg, err
		}
		network, _ := l.topo.Network(link.Network)
		cfg.NICs = append(cfg.NICs, domain.NIC{MAC: link.MAC.String(), Socket: socket, MTU: network.MTU})
		cfg.Labels.Addresses[link.Network] = link.Addr.Addr().String()
	}
	return cfg, nil
}

// firmware says what boots the image's own loader.
func (n *Node) firmware(img *image.Image) (domain.Firmware, error) {
	if img.Kernel != "" || img.Firmware != "uefi" {
		return domain.Firmware{Kind: "bios"}, nil
	}
	for _, pair := range ovmf {
		if exists(pair[0]) && exists(pair[1]) {
			return domain.Firmware{Kind: "uefi", Code: pair[0], VarsTemplate: pair[1], Vars: n.files.vars}, nil
		}
	}
	return domain.Firmware{}, fmt.Errorf("image %q boots by UEFI, and no firmware for it is installed (package ovmf, or edk2-ovmf)", img.Name)
}

// ovmf are the places where distributions keep UEFI for QEMU: code and template of the variables.
var ovmf = [][2]string{ //nolint:gochecknoglobals // a constant table.
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// newGuest makes the way into the guest for one life. Nothing is dialled yet.
func (n *Node) newGuest(l *life) (*guest.Client, error) {
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(n.hostKey.Public))
	if err != nil {
		return nil, fmt.Errorf("read back the host key: %w", err)
	}
	return guest.New(guest.Config{
		Name: n.Name(), User: "root", LoginUser: n.spec.CloudInit.User, Env: n.spec.Env,
		Dial: n.dialSSH, Listen: n.listen, Ciphers: n.lab.ciphers(),
		Signer: n.lab.signer, HostKey: hostKey, Check: l.err, Dead: l.dead,
		Observe: n.lab.cfg.Observe, Log: n.lab.log,
	}), nil
}
