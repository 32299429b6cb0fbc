package doctor

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	// Unix socket paths end at 107 bytes (unix(7)), and libvirt adds about 70 to its configuration folder for the guest
	// agent's channel.
	longestSocket  = 107
	libvirtsSuffix = 70
)

// memory compares what programs can still get with what labs ask for: 1 GiB is one small machine.
func memory(_ context.Context, e exam) Check {
	data, err := e.Host.ReadFile("/proc/meminfo")
	if err != nil {
		return Check{Status: Warn, Detail: err.Error(), Remedy: "mount /proc"}
	}
	available, found := memAvailable(string(data))
	if !found {
		return Check{Status: Warn, Detail: "/proc/meminfo has no MemAvailable", Remedy: "use Linux 3.14 or newer"}
	}
	source := "available"
	if limit := e.cgroupRoom(); limit < available {
		available, source = limit, "left within this control group's limit"
	}
	detail := fmt.Sprintf("%d MiB %s", available/mib, source)
	switch {
	case available < 1*gib:
		return Check{Status: Fail, Detail: detail + ": too little for one machine of 1 GiB", Remedy: "free memory or add some"}
	case available < 3*gib:
		return Check{Status: Warn, Detail: detail + ": enough for one or two small machines", Remedy: "free memory, or give nodes a smaller memory_mb"}
	}
	return ok("%s", detail)
}

func memAvailable(meminfo string) (bytes uint64, found bool) {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		kib, err := strconv.ParseUint(fields[1], 10, 64)
		return kib * 1024, err == nil
	}
	return 0, false
}

// cgroupRoom returns what the control group of a container leaves, as the kernel's cgroup-v2 document has it: memory.max
// says "max" where there is no limit.
func (e exam) cgroupRoom() uint64 {
	read := func(name string) (uint64, bool) {
		data, err := e.Host.ReadFile("/sys/fs/cgroup/" + name)
		if err != nil {
			return 0, false
		}
		value, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
		return value, err == nil
	}
	limit, limited := read("memory.max")
	used, known := read("memory.current")
	switch {
	case !limited || !known:
		return math.MaxUint64
	case used >= limit:
		return 0
	}
	return limit - used
}

func stateFolder(_ context.Context, e exam) Check {
	return e.disk(e.StateDir, "LABTEST_STATE_DIR", "disks of running labs")
}

func cacheFolder(_ context.Context, e exam) Check {
	return e.disk(e.CacheDir, "LABTEST_CACHE_DIR", "images and snapshots")
}

// disk asks for room for a few images of half a GiB, or the overlays of a few machines. The folder can be chosen by an
// environment variable.
func (e exam) disk(dir, variable, holds string) Check {
	const enough, least = 4 * gib, 1 * gib
	_, name := e.Host.User()
	free, err := e.Host.Free(dir)
	if err != nil {
		return Check{
			Status: Fail, Detail: fmt.Sprintf("%s (%s) cannot be written to: %v", dir, holds, err),
			Remedy: fmt.Sprintf("make it a folder that %s may write to, or choose another by %s", name, variable),
		}
	}
	detail := fmt.Sprintf("%s (%s): %.1f GiB free", dir, holds, float64(free)/gib)
	remedy := "labtest gc and labtest image rm make room; " + variable + " chooses another file system"
	switch {
	case free < least:
		return Check{Status: Fail, Detail: detail, Remedy: remedy}
	case free < enough:
		return Check{Status: Warn, Detail: detail, Remedy: remedy}
	}
	return ok("%s", detail)
}

func runFolder(_ context.Context, e exam) Check {
	longest := longestSocket - libvirtsSuffix
	if length := len(e.RunDir); length > longest {
		return Check{
			Status: Fail,
			Detail: fmt.Sprintf("%s has %d bytes; with more than %d, libvirt's socket paths exceed the kernel's %d", e.RunDir, length, longest, longestSocket),
			Remedy: "set LABTEST_RUN_DIR to a shorter folder of your own",
		}
	}
	if _, err := e.Host.Free(e.RunDir); err != nil {
		return Check{
			Status: Fail, Detail: fmt.Sprintf("%s (sockets) cannot be written to: %v", e.RunDir, err),
			Remedy: "set LABTEST_RUN_DIR to a folder of your own",
		}
	}
	return ok("%s: %d of at most %d bytes", e.RunDir, len(e.RunDir), longest)
}
