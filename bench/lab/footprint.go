package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ionlab/internal/lab"
)

// footprints are what machines take of the host's memory and disk, each on average of a round.
type footprints struct{ memory, disk row }

// ours adds a lab that has just run its first command.
func (f *footprints) ours(l *lab.Lab, nodes int) error {
	id := "/" + l.ID() + "/"
	memory, found, err := residents(id)
	if err == nil && found != nodes {
		err = fmt.Errorf("%d QEMUs of lab %s were found, not %d", found, l.ID(), nodes)
	}
	if err != nil {
		return err
	}
	dirs, err := lab.DefaultDirs()
	if err != nil {
		return err
	}
	disks, err := filepath.Glob(filepath.Join(dirs.State, l.ID(), "disks", "*.qcow2"))
	f.memory.Ours.add(float64(memory) / float64(nodes) / 1e6)
	f.disk.Ours.add(float64(usage(disks)) / float64(nodes) / 1e6)
	return err
}

// plain adds the plain way's machines.
func (f *footprints) plain(machines []*machine) error {
	var memory int64
	var disks []string
	for _, m := range machines {
		size, found, err := residents(m.dir + "/")
		if err == nil && found != 1 {
			err = fmt.Errorf("%d QEMUs of machine %s were found, not 1", found, m.name)
		}
		if err != nil {
			return err
		}
		memory += size
		disks = append(disks, filepath.Join(m.dir, "disk.qcow2"))
	}
	f.memory.Their.add(float64(memory) / float64(len(machines)) / 1e6)
	f.disk.Their.add(float64(usage(disks)) / float64(len(machines)) / 1e6)
	return nil
}

func (f *footprints) rows(nodes int) []*row {
	for _, r := range []*row{&f.memory, &f.disk} {
		r.Unit, r.Load, r.Plain = "MB", load(), "the same QEMU"
		r.ratio()
	}
	f.memory.Name = fmt.Sprintf("memory of a machine (PSS of QEMU), %s of %d MiB", machines(nodes), memoryMB)
	f.disk.Name = fmt.Sprintf("disk of a machine beside its snapshot, %s", machines(nodes))
	return []*row{&f.memory, &f.disk}
}

// residents is the proportional set size, in bytes, of all QEMUs that have mark in their command lines (proc(5),
// smaps_rollup).
func residents(mark string) (bytesUsed int64, found int, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, 0, err
	}
	for _, path := range paths {
		command, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(command, []byte(lab.Emulator)) || !bytes.Contains(command, []byte(mark)) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "smaps_rollup"))
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) == 3 && fields[0] == "Pss:" {
				kb, err := strconv.ParseInt(fields[1], 10, 64)
				if err != nil {
					return 0, 0, err
				}
				bytesUsed, found = bytesUsed+kb<<10, found+1
			}
		}
	}
	return bytesUsed, found, nil
}

// usage is what files take on the disk.
func usage(paths []string) (sum int64) {
	for _, path := range paths {
		var stat unix.Stat_t
		if unix.Stat(path, &stat) == nil {
			sum += stat.Blocks * 512
		}
	}
	return sum
}
