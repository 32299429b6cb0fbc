package virt

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// confine is the command line that runs libvirtd in a PID namespace of its own, as an unprivileged user, under tini.
// Where namespaces are forbidden (AppArmor on Ubuntu 24.04, containers without CAP_SYS_ADMIN) libvirtd still dies with
// its owner, but the machines that it started do not: they stay until the lab's Close or `labtest gc` ends them.
func confine(ctx context.Context, owner *Account) ([]string, error) {
	for _, tool := range []string{"unshare", "setpriv", "tini"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("find %s: %w (`make setup` installs it; package util-linux or tini)", tool, err)
		}
	}
	libvirtd, err := findLibvirtd()
	if err != nil {
		return nil, err
	}
	namespace := []string{"unshare", "-p", "-f", "--kill-child=SIGKILL", "--mount-proc"}
	if owner == nil {
		namespace = append(namespace, "-U", "--map-current-user")
	}
	// A change of uid clears the parent-death signal, so it is set again after it.
	var become []string
	if owner != nil {
		become = []string{
			"setpriv", "--reuid=" + strconv.Itoa(owner.UID), "--regid=" + strconv.Itoa(owner.GID),
			"--init-groups", "--no-new-privs", "--pdeathsig", "KILL",
		}
	}
	if works(ctx, namespace) {
		return join(namespace, become, []string{"tini", "--", libvirtd}), nil
	}
	return join(become, []string{"tini", "-s", "--", "setpriv", "--pdeathsig", "KILL", libvirtd}), nil
}

// works tries whether this user may make such a namespace.
func works(ctx context.Context, namespace []string) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	argv := join(namespace, []string{"true"})
	return exec.CommandContext(ctx, argv[0], argv[1:]...).Run() == nil //nolint:gosec // argv is ours.
}

func join(parts ...[]string) []string {
	var all []string
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// findLibvirtd looks also where an ordinary user's PATH does not lead.
func findLibvirtd() (string, error) {
	for _, name := range []string{"libvirtd", "/usr/sbin/libvirtd", "/usr/local/sbin/libvirtd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("find libvirtd: it is not installed (`make setup` installs it; package libvirt-daemon)")
}
