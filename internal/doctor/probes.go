package doctor

// allProbes lists the checks in the order of the report: what runs machines, what builds images, what people use, room.
func allProbes() []probe {
	return []probe{
		{name: "distribution", run: distribution},
		{name: "kvm", run: kvm},
		{name: "qemu", run: qemu},
		{name: "qemu-img", run: qemuImg},
		{name: "libvirtd", run: libvirtd},
		{name: "tini", run: tini},
		{name: "namespaces", run: namespaces},
		{name: "qemu user", run: qemuUser, who: rootOnly},
		{name: "subordinate ids", run: subordinate, who: usersOnly},
		{name: "mmdebstrap", run: mmdebstrap},
		{name: "mke2fs", run: mke2fs},
		{name: "ssh", run: sshClient},
		{name: "nc", run: netcat},
		{name: "memory", run: memory},
		{name: "state folder", run: stateFolder},
		{name: "cache folder", run: cacheFolder},
		{name: "run folder", run: runFolder},
		{name: "mirrors", run: mirrors},
	}
}

// who a probe is for.
type who int

const (
	everyone who = iota
	rootOnly
	usersOnly
)

func (p probe) applies(host Host) bool {
	switch p.who {
	case rootOnly:
		return host.root()
	case usersOnly:
		return !host.root()
	}
	return true
}
