package topology

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// machines maps architectures, under the names of Go and uname, to the ELF machines that they run.
var machines = map[string][]elf.Machine{
	// The amd64 kernels of the distributions run 32-bit programs too.
	"amd64":   {elf.EM_X86_64, elf.EM_386},
	"x86_64":  {elf.EM_X86_64, elf.EM_386},
	"arm64":   {elf.EM_AARCH64},
	"aarch64": {elf.EM_AARCH64},
	"riscv64": {elf.EM_RISCV},
	"ppc64le": {elf.EM_PPC64},
	"s390x":   {elf.EM_S390},
}

// checkProgram complains of an ELF file that arch does not run. Other files pass.
func checkProgram(path, arch string) *complaint {
	runs, known := machines[arch]
	if !known {
		return nil
	}
	machine, isELF := machineOf(path)
	if !isELF || slices.Contains(runs, machine) {
		return nil
	}
	return &complaint{
		fmt.Sprintf("%s is built for %s, the guest is %s", quotePath(path), machine, arch),
		"build it for " + arch,
	}
}

// machineOf reads the machine from the header of an ELF file. Only the first 20 bytes count, so that files with odd or
// no sections are told as well.
func machineOf(path string) (machine elf.Machine, isELF bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer func() { _ = file.Close() }()
	const machineOffset = 18
	var header [machineOffset + 2]byte
	if _, err := io.ReadFull(file, header[:]); err != nil || string(header[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return 0, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(header[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	return elf.Machine(order.Uint16(header[machineOffset:])), true
}
