package lab

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Write writes the state for a person to read.
func (s NetState) Write(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "impairment seed %d\n\n", s.Seed)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "LINK\tSTATE\tTOPOLOGY\tSENT\tRECEIVED\tDROPPED\tOTHERWISE")
	for _, k := range s.Links {
		fmt.Fprintf(table, "%s@%s\t%s\t%s\t%d frames, %d bytes\t%d frames, %d bytes\t%s\t%s\n", k.Owner, k.Network, k, orDash(k.Planned),
			k.Sent.Frames, k.Sent.Bytes, k.Received.Frames, k.Received.Bytes, orDash(counted(k.Dropped)), orDash(k.others()))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, k := range s.Links {
		for _, measured := range k.Measured {
			fmt.Fprintf(&out, "\nmeasured: %s", measured)
		}
	}
	out.WriteString("\n\npartitions:")
	for _, cut := range s.Cuts {
		fmt.Fprintf(&out, "\n  nothing of %s reaches %s", cut[0], cut[1])
	}
	if len(s.Cuts) == 0 {
		out.WriteString(" none")
	}
	for _, r := range s.Routers {
		fmt.Fprintf(&out, "\n\nrouter %s: inside %s, outside %s, NAT %s, firewall %s\n  %s\n  %d mappings",
			r.Name, r.Inside, r.Outside, r.NAT, r.Firewall, r.Counters, len(r.Mappings))
		for _, m := range r.Mappings {
			fmt.Fprintf(&out, "\n    %s", m)
		}
	}
	out.WriteString("\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// counted lists what was counted by cause, in a fixed order.
func counted(causes map[string]uint64) string {
	var words []string
	for cause, count := range causes {
		words = append(words, fmt.Sprintf("%d %s", count, cause))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func (s LinkState) others() string {
	var words []string
	for _, part := range []struct {
		count uint64
		what  string
	}{{s.Duplicated, "duplicated"}, {s.Reordered, "reordered"}, {s.Corrupted, "corrupted"}} {
		if part.count > 0 {
			words = append(words, fmt.Sprintf("%d %s", part.count, part.what))
		}
	}
	return strings.Join(words, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
