package lab

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// savedGuest is what is in a saved fake guest's memory.
type savedGuest struct {
	Seed string // the seed volume's content, from which it takes its identity
	Boot int
}

// savedPages is how much memory a fake guest has, in pages of 4096 bytes.
const savedPages = 256

// write writes the guest in the form of libvirt and QEMU, or in one that nobody knows.
func (s savedGuest) write(path string, known bool) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	number := func(n uint64) { out.Write(binary.BigEndian.AppendUint64(nil, n)) }
	if known {
		out.WriteString("LibvirtQemudSave")
		out.Write(binary.NativeEndian.AppendUint32(nil, 2))
		out.Write(make([]byte, 4*4+14*4))
		out.WriteString("QEVM\x00\x00\x00\x03\x07\x00\x00\x00\x04fake\x01\x00\x00\x00\x01\x03ram\x00\x00\x00\x00\x00\x00\x00\x04")
		number(savedPages<<12 | 0x04)
		out.WriteString("\x06pc.ram")
		number(savedPages << 12)
		number(0x10)
		out.WriteString("\x7e\x00\x00\x00\x01\x03\x00\x00\x00\x01")
		number(0x08)
		out.WriteString("\x06pc.ram")
	}
	for at := 0; at == 0 || at < len(data); at += 4096 {
		if known && at > 0 {
			number(uint64(at | 0x28))
		}
		var page [4096]byte
		copy(page[:], data[at:])
		out.Write(page[:])
	}
	if known {
		number(0x10)
		out.WriteString("\x7e\x00\x00\x00\x01devices")
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

// readSavedGuest reads the guest from the image of its memory, as the arguments of its QEMU say, or where there is none from its state.
func readSavedGuest(state string, arguments []string) (*savedGuest, error) {
	path := state
	for _, argument := range arguments {
		if strings.HasPrefix(argument, "memory-backend-file,") {
			path = options(argument)["mem-path"]
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if path != state {
		rest, err := os.ReadFile(state)
		if err != nil || !bytes.HasSuffix(rest, []byte("devices")) || len(rest) > 4096 {
			return nil, fmt.Errorf("%s is not what is left of a saved machine: %w", state, err)
		}
	}
	saved := &savedGuest{}
	return saved, json.Unmarshal(bytes.TrimRight(data, "\x00"), saved)
}
