package doctor

import (
	"fmt"
	"io"
	"strings"
)

// String returns the report as WriteText writes it.
func (r Report) String() string {
	var text strings.Builder
	for _, check := range r.Checks {
		fmt.Fprintf(&text, "%-4s  %-15s  %s\n", check.Status, check.Name, check.Detail)
		if check.Remedy != "" {
			fmt.Fprintf(&text, "%23s-> %s\n", "", check.Remedy)
		}
	}
	counts := map[Status]int{}
	for _, check := range r.Checks {
		counts[check.Status]++
	}
	fmt.Fprintf(&text, "\n%d ok, %d to look at, %d to remedy\n", counts[OK], counts[Warn], counts[Fail])
	return text.String()
}

// WriteText writes a table for people: a line for each check, its remedy below it, and a closing count.
func (r Report) WriteText(w io.Writer) error {
	_, err := io.WriteString(w, r.String())
	return err
}
