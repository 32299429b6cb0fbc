package fabric

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// String is the counters as a short table, for reports: what was carried by way, then what was dropped by cause and what
// else the link's conditions did, where there is any.
func (c Counters) String() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, t Traffic) {
		_, _ = fmt.Fprintf(table, "%s\t%d frames\t%d bytes\t\n", name, t.Frames, t.Bytes)
	}
	row("egress", c.Egress)
	row("ingress", c.Ingress)
	row("control egress", c.ControlEgress)
	row("control ingress", c.ControlIngress)
	_ = table.Flush() // Into memory.
	list := func(what string, parts []string) {
		if len(parts) > 0 {
			fmt.Fprintf(&text, "%s: %s\n", what, strings.Join(parts, ", "))
		}
	}
	list("dropped", c.drops())
	list("changed", c.changes())
	return text.String()
}

// drops are the dropped frames by cause, in the order of the causes.
func (c Counters) drops() []string {
	var parts []string
	for cause := range causes {
		if n := c.Dropped[cause]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, cause))
		}
	}
	return parts
}

func (c Counters) changes() []string {
	var parts []string
	for _, change := range []struct {
		n    uint64
		what string
	}{{c.Duplicated, "duplicated"}, {c.Reordered, "reordered"}, {c.Corrupted, "corrupted"}} {
		if change.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", change.n, change.what))
		}
	}
	return parts
}
