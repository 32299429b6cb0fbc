package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// describe prints how to reach the nodes.
func (s *session) describe() error {
	id, nodes := s.lab.ID(), s.lab.Nodes()
	var out strings.Builder
	fmt.Fprintf(&out, "lab %s (%s) is up after %s\n", id, s.lab.Topology().Metadata.Name, elapsed(s.lab.Took()))
	s.keep(func() { fmt.Fprintf(&out, "%s\nimpairment seed %d\n\n", s.accel, s.lab.Seed()) })
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tADDRESSES")
	for _, node := range nodes {
		var links []string
		for _, link := range node.Spec().Links {
			links = append(links, link.Network+" "+link.Addr.Addr().String())
		}
		fmt.Fprintf(table, "%s\t%s\n", node.Name(), strings.Join(links, ", "))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	s.keep(func() {
		for _, port := range s.ports {
			fmt.Fprintf(&out, "%s\n", port)
		}
	})
	first, me := nodes[0].Name(), shellWord(s.name)
	fmt.Fprintf(&out, "\nssh_config: %s\n\n", s.lab.SSHConfig())
	for _, line := range []string{
		fmt.Sprintf("%s ssh %s %s", me, id, first),
		fmt.Sprintf("%s exec %s %s -- uname -a", me, id, first),
		fmt.Sprintf("%s cp FILE %s:%s:/tmp/", me, id, first),
		fmt.Sprintf("%s console %s %s", me, id, first),
		fmt.Sprintf("ssh -F %s %s", shellWord(s.lab.SSHConfig()), first),
		fmt.Sprintf("%s down %s", me, id),
	} {
		fmt.Fprintf(&out, "  %s\n", line)
	}
	fmt.Fprintf(&out, "\n^C ends the lab.\n")
	_, err := fmt.Fprint(s.out, out.String())
	return err
}
