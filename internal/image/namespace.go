package image

import (
	"context"
	"fmt"
)

// namespace is the command that runs another as root of its own mount and PID namespace, so that nothing of a build outlives the
// builder. An ordinary user is root of a user namespace too: root there is the user outside, the other ids are subordinate ones
// (subuid(5)), and ownership on the file system that is built is right in both cases. Needs util-linux 2.38.
func (s *Store) namespace() []string {
	argv := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"}
	if s.euid != 0 {
		argv = append(argv, "--user", "--map-root-user", "--map-auto")
	}
	return append(argv, "--")
}

// canBuild checks what a native build needs of the host.
func (s *Store) canBuild(ctx context.Context, tools ...string) error {
	tools = append(tools, "unshare")
	if s.euid != 0 {
		tools = append(tools, "newuidmap")
	}
	if err := s.need(tools...); err != nil {
		return err
	}
	err := s.run.Run(ctx, command{Argv: append(s.namespace(), "true")})
	if err != nil && s.euid != 0 {
		return fmt.Errorf("%w; building as an ordinary user needs a user namespace with subordinate ids: "+
			"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER; where AppArmor forbids it: "+
			"sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0; or build as root", err)
	}
	if err != nil {
		return fmt.Errorf("%w; building needs the right to make namespaces: in a container run it privileged, or with CAP_SYS_ADMIN", err)
	}
	return nil
}
