package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// errNoHolder says that no process that we can see holds a lock.
var errNoHolder = errors.New("no process that is yours holds its lock")

// holder finds the process that holds the flock on a file. Only the kernel knows that for certain: /proc/PID/fdinfo has
// the locks of each open file (proc(5)), so a pid that was written down somewhere and is another program's by now
// cannot be mistaken for it. /proc/locks names inodes, which are others on overlay file systems.
func holder(path string) (int, error) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, fmt.Errorf("list open files: %w", err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != path {
			continue // a process that ended, or is not ours to look into
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err == nil && locks(link) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("find who holds %s: %w (another user's? Ask as that user, or as root)", path, errNoHolder)
}

// locks tells whether an open file holds a flock. The link is /proc/PID/fd/N.
func locks(link string) bool {
	info, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "fdinfo", filepath.Base(link)))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(info)) {
		if strings.HasPrefix(line, "lock:") && strings.Contains(line, " FLOCK ") {
			return true
		}
	}
	return false
}
