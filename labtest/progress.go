package labtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"ionlab/internal/lab"
)

// report is what Ginkgo's progress reports say of the lab: what each node is doing, and since when.
func (l *Lab) report() string {
	var out strings.Builder
	fmt.Fprintf(&out, "lab %s (%s), %s\n", l.inner.Topology().Metadata.Name, l.inner.ID(), l.inner.Accelerator())
	for _, node := range l.inner.Nodes() {
		status, since := node.Status()
		fmt.Fprintf(&out, "  %s: %s for %s\n", node.Name(), status, time.Since(since).Round(time.Second))
		if strings.HasPrefix(status, "waiting") {
			for _, line := range node.ConsoleLines(3) {
				fmt.Fprintf(&out, "      | %s\n", line)
			}
		}
	}
	return out.String()
}

// follow writes the lab's steps to Ginkgo's writer, which shows them when a spec fails or with -v.
func follow(e lab.Event) {
	where := e.Node
	if where == "" {
		where = "lab"
	}
	if e.Total > 0 {
		ginkgo.GinkgoLogr.Info(where+": "+e.Stage, "done", e.Done, "total", e.Total)
		return
	}
	ginkgo.GinkgoWriter.Printf("%s %s: %s %s\n", e.Time.Format("15:04:05.000"), where, e.Stage, e.Note)
}
