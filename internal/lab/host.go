package lab

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Emulator is the QEMU that runs the domains.
const Emulator = "/usr/bin/qemu-system-x86_64"

// availableMemory is what the kernel would give to new programs, in bytes (MemAvailable of proc(5)); 0 when unknown.
func availableMemory() int64 { return memoryInfo("MemAvailable") }

// memoryInfo reads a line of proc(5)'s meminfo, in bytes; 0 when unknown.
func memoryInfo(name string) int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == name+":" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

// diskFree is the space left for us where dir is, in bytes; 0 when unknown.
func diskFree(dir string) int64 {
	for dir != "" {
		var stat unix.Statfs_t
		if err := unix.Statfs(dir, &stat); err == nil {
			return int64(stat.Bavail) * stat.Bsize //nolint:gosec // a file system has fewer blocks than 2^63.
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return 0
		}
		dir = parent
	}
	return 0
}

// hostDialer opens the connections of guests on networks that the topology lets out.
func hostDialer() *net.Dialer { return &net.Dialer{Timeout: 20 * time.Second} }
