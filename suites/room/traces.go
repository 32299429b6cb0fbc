package room

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// Labs are the folders of labs in the room, alive or not.
func (r Room) Labs() []string {
	run, _ := filepath.Glob(filepath.Join(r.Run, "[0-9a-f]*"))
	state, _ := filepath.Glob(filepath.Join(r.State, "[0-9a-f]*"))
	return append(run, state...)
}

// Processes are those that have the room in their command line, environment, folder or open files, and have not ended.
// This process is none of them.
func (r Room) Processes() []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if dir == "/proc/"+selfID() || ended(dir) {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if strings.Contains(string(cmdline)+string(environ), r.Root) || r.holds(dir) {
			found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

// holds tells whether a process is in the room, or has a file of it open.
func (r Room) holds(proc string) bool {
	links := []string{filepath.Join(proc, "cwd"), filepath.Join(proc, "root"), filepath.Join(proc, "exe")}
	open, _ := filepath.Glob(filepath.Join(proc, "fd", "*"))
	return slices.ContainsFunc(append(links, open...), func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && strings.HasPrefix(target, r.Root+"/")
	})
}

// Children are the ids of this process's children that have not ended.
func Children() []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if fields := statOf(dir); len(fields) > 1 && fields[1] == selfID() && !ended(dir) {
			found = append(found, filepath.Base(dir))
		}
	}
	return found
}

func ended(proc string) bool {
	fields := statOf(proc)
	return len(fields) == 0 || fields[0] == "Z" || fields[0] == "X"
}

// statOf are the fields of proc(5)'s stat from the state on. The name in parentheses may hold anything, so what counts is
// what follows the last one.
func statOf(proc string) []string {
	text, _ := os.ReadFile(filepath.Join(proc, "stat"))
	return strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
}

func selfID() string {
	self, _ := os.Readlink("/proc/self")
	return self
}

// Traces are what the kernel knows of the room beside processes: mounts in it, namespaces that are mounted there, sockets.
func (r Room) Traces() []string {
	var found []string
	for _, table := range []string{"/proc/self/mountinfo", "/proc/net/unix"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, r.Root+"/") {
				found = append(found, table+": "+strings.TrimSpace(line))
			}
		}
	}
	return found
}

// tidy are the files that belong into a room whose labs have ended: locks of the folders themselves, the books of memory
// and the turns to boot, images and snapshots that a reference leads to, packages for the next build, and what is known of QEMU.
var tidy = regexp.MustCompile(`^(` + strings.Join([]string{
	`r/\.lock`, `r/\.memory/lock`, `r/\.boots/\d+`,
	`c/images/(refs/\w+-[0-9a-f]{40}\.json|checked/[0-9a-f]{40}|debs/[^/]+\.deb|debs/lock)`,
	`c/images/locks/object-[0-9a-f]{40}`,
	`c/snapshots/refs/[0-9a-f]{32}`, `c/snapshots/tmp/\.lock`,
	`c/capabilities/[0-9a-f]+\.xml`, `c/accel-[^/]+\.json`,
}, "|") + `)$`)

// Strays are the files in the room's folders that no run, killed or not, should have left behind.
func (r Room) Strays() []string {
	known := r.referred()
	var found []string
	for _, dir := range []string{r.Run, r.State, r.Cache} {
		if dir == "" {
			continue
		}
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			name, _ := filepath.Rel(r.Root, path)
			if err == nil && !entry.IsDir() && !tidy.MatchString(name) && !known[filepath.Dir(path)] {
				found = append(found, name)
			}
			return nil
		})
	}
	return found
}

// referred are the folders of images and snapshots that a reference leads to.
func (r Room) referred() map[string]bool {
	known := map[string]bool{}
	objects, _ := filepath.Glob(filepath.Join(r.Cache, "images", "refs", "*.json"))
	for _, path := range objects {
		text, _ := os.ReadFile(path)
		if id := regexp.MustCompile(`"object": "([0-9a-f]{40})"`).FindSubmatch(text); id != nil {
			known[filepath.Join(r.Cache, "images", "objects", string(id[1]))] = true
		}
	}
	for _, path := range r.SnapshotRefs() {
		text, _ := os.ReadFile(path)
		name, _, _ := strings.Cut(string(text), " ")
		known[filepath.Join(r.Cache, "snapshots", "entries", name)] = true
	}
	return known
}

// SnapshotRefs are the files that lead to the snapshots in the room's store, one for each.
func (r Room) SnapshotRefs() []string {
	paths, _ := filepath.Glob(filepath.Join(r.Cache, "snapshots", "refs", "*"))
	return paths
}

func chownAs(info fs.FileInfo, path string) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, int(stat.Uid), int(stat.Gid))
}
