package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"libvirt.org/go/libvirtxml"

	"ionlab/internal/domain"
	"ionlab/internal/lab"
	"ionlab/internal/snapshot"
	"ionlab/internal/topology"
)

// twins are the machines of a lab's snapshot for the plain way: the same memory, disks and seeds. Where the lab's
// networks are, they have QEMU's user network, which forwards a port to sshd.
type twins struct {
	entry    *snapshot.Entry
	machines []*machine
}

// Close ends the use of the snapshot and removes the folders.
func (t *twins) Close() error {
	errs := []error{t.entry.Close()}
	for _, m := range t.machines {
		errs = append(errs, m.remove())
	}
	return errors.Join(errs...)
}

// twinsOf makes the twins of the snapshot that a lab of the topology started from last.
func (b *bench) twinsOf(ctx context.Context, file string) (*twins, error) {
	topo, err := topology.Load(file)
	if err != nil {
		return nil, err
	}
	store, err := lab.OpenSnapshots(b.dirs, b.log)
	if err != nil {
		return nil, err
	}
	infos, err := store.List()
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		if info.Topology != topo.Metadata.Name || info.Damaged != "" {
			continue
		}
		entry, err := store.Get(ctx, info.Key)
		if err != nil {
			return nil, err
		}
		t := &twins{entry: entry}
		for i := range topo.Nodes {
			m, err := b.twin(ctx, entry, i, topo)
			if err != nil {
				return nil, errors.Join(err, t.Close())
			}
			t.machines = append(t.machines, m)
		}
		return t, nil
	}
	return nil, fmt.Errorf("no lab of topology %q has left a snapshot", topo.Metadata.Name)
}

func (b *bench) twin(ctx context.Context, entry *snapshot.Entry, i int, topo *topology.Topology) (*machine, error) {
	node, spec := entry.Manifest.Nodes[i], topo.Nodes[i]
	name := topo.Metadata.Name + "-" + node.Name
	m, port, err := b.plain.newMachine(name, entry.Manifest.ClientKey.Private, node.HostKey.Public)
	if err != nil {
		return nil, err
	}
	network, _ := topo.Network(spec.Links[0].Network)
	user := userNetwork("lab0", spec.Links[0].Addr, network.Gateway, port)
	xml, err := b.plain.savedXML(ctx, entry.Path(node.Name+".state"))
	if err == nil {
		xml, err = m.replace(xml, user, entry.Path(node.Name+".iso"))
	}
	err = errors.Join(err,
		os.Symlink(entry.Path(node.Name+".state"), filepath.Join(m.dir, "state")),
		os.WriteFile(filepath.Join(m.dir, "layer"), []byte(entry.Path(node.Name+".qcow2")), 0o600), // whose base is relative to it
		b.giveSockets(m),
	)
	if err != nil {
		return m, err
	}
	return m, b.plain.saveWhole(ctx, m, xml, entry.Path(node.Name+".memory"), spec.MemoryMB)
}

// saveWhole makes a file of virDomainSave as it is without us: what was taken out of it is put back, by a QEMU that never lets
// the machine run.
func (p *plain) saveWhole(ctx context.Context, m *machine, xml, memory string, sizeMB int) error {
	file := filepath.Join(m.dir, "domain.xml")
	mapped := domain.MapMemory(memory, sizeMB)
	xml, err := withArguments(xml, mapped)
	if err == nil {
		err = os.WriteFile(file, []byte(xml), 0o600)
	}
	if err == nil {
		err = p.do(ctx, "save", m)
	}
	if err == nil {
		xml, err = p.savedXML(ctx, filepath.Join(m.dir, "s", "memory")) // with the generation id that it has now
	}
	if err != nil {
		return err
	}
	own := strings.Replace(xml, mapped[1], fmt.Sprintf("memory-backend-ram,id=%s,size=%dM", domain.ImageMemory, sizeMB), 1)
	if own == xml {
		return fmt.Errorf("the saved definition of %s has no %q", m.name, mapped[1])
	}
	return os.WriteFile(file, []byte(own), 0o600)
}

// withArguments gives a definition more arguments of QEMU.
func withArguments(xml string, args []string) (string, error) {
	var d libvirtxml.Domain
	if err := d.Unmarshal(xml); err != nil {
		return "", err
	}
	for _, arg := range args {
		d.QEMUCommandline.Args = append(d.QEMUCommandline.Args, libvirtxml.DomainQEMUCommandlineArg{Value: arg})
	}
	return d.Marshal()
}

// userNetwork is QEMU's own network, with the addresses of the lab's.
func userNetwork(id string, guest netip.Prefix, gateway netip.Addr, port int) string {
	return fmt.Sprintf("user,id=%s,ipv6=off,restrict=on,net=%s,host=%s,hostfwd=tcp:127.0.0.1:%d-%s:22",
		id, guest.Masked(), gateway, port, guest.Addr())
}

// savedXML is the definition in a file of virDomainSave.
func (p *plain) savedXML(ctx context.Context, memory string) (string, error) {
	cmd := exec.CommandContext(ctx, "virsh", "save-image-dumpxml", memory)
	cmd.Env = p.env
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("virsh save-image-dumpxml %s: %w", memory, err)
	}
	return string(out), nil
}

// replace gives a saved definition the machine's own paths and its network.
func (m *machine) replace(xml, user, seed string) (string, error) {
	var d libvirtxml.Domain
	if err := d.Unmarshal(xml); err != nil {
		return "", err
	}
	if len(d.Devices.Disks) != 2 || len(d.Devices.Serials) != 1 || len(d.Devices.Channels) != 1 || d.QEMUCommandline == nil {
		return "", fmt.Errorf("the saved definition of %s is none of ours", m.name)
	}
	socket := func(name string) *libvirtxml.DomainChardevSource {
		return &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind", Path: filepath.Join(m.dir, "s", name)}}
	}
	d.Name = strings.TrimSpace(d.Name)
	d.Devices.Disks[0].Source.File.File = filepath.Join(m.dir, "disk.qcow2")
	d.Devices.Disks[1].Source.File.File = seed
	d.Devices.Serials[0].Source, d.Devices.Serials[0].Log.File = socket("console"), filepath.Join(m.dir, "s", "log")
	d.Devices.Channels[0].Source = socket("agent")
	for i, arg := range d.QEMUCommandline.Args {
		if strings.HasPrefix(arg.Value, "stream,") {
			d.QEMUCommandline.Args[i].Value = user
		}
	}
	if d.Name != m.name {
		return "", fmt.Errorf("the saved machine is called %q, not %q", d.Name, m.name)
	}
	return d.Marshal()
}

// giveSockets makes the folder in which QEMU makes its sockets.
func (b *bench) giveSockets(m *machine) error {
	dir := filepath.Join(m.dir, "s")
	err := os.Mkdir(dir, 0o711)
	if err == nil && b.account != nil {
		err = os.Chown(dir, b.account.UID, b.account.GID)
	}
	return err
}
