package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// killStrays ends the machines that were started for the lab in run and outlived their hypervisor. On a host that
// allows PID namespaces there are none; elsewhere QEMU is no child of anybody who could take it along. It is known by
// its command line, which names sockets below run.
func killStrays(run string) error {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil || !isStray(data, run) {
			continue // it has ended, or is none of ours
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill machine %d of a lab that has ended: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

func isStray(cmdline []byte, run string) bool {
	program, _, _ := bytes.Cut(cmdline, []byte{0})
	return strings.HasPrefix(filepath.Base(string(program)), "qemu-system-") && bytes.Contains(cmdline, []byte(run+"/"))
}
