package labtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// keepVariable says for how long the labs of a failed spec are held for whoever looks into them. A lab ends with its
// owner, so it is the owner that stays.
const keepVariable = "LABTEST_KEEP"

// keepFor is for how long labs are held when a spec has failed; 0 for not at all.
func keepFor() (time.Duration, error) {
	text := os.Getenv(keepVariable)
	if text == "" {
		return 0, nil
	}
	limit, err := time.ParseDuration(text)
	if err != nil || limit < 0 {
		return 0, fmt.Errorf("%s=%q: give for how long the labs of a failed spec are kept, for example 30m", keepVariable, text)
	}
	return limit, nil
}

// hold keeps the labs as they are until their time is over or ctx ends, as by ^C, and says how to reach into them.
func hold(ctx context.Context, living []*Lab, limit time.Duration, out io.Writer) {
	if len(living) == 0 || limit == 0 {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s=%s: a spec has failed, and its labs stay until %s. ^C ends them and the run, or: labtest down LAB\n",
		keepVariable, limit, time.Now().Add(limit).Format(time.TimeOnly))
	for _, l := range living {
		fmt.Fprintf(&text, "lab %s (%s)\n", l.ID(), l.inner.Topology().Metadata.Name)
		for _, node := range l.Nodes() {
			fmt.Fprintf(&text, "  labtest ssh %s %s    or: ssh -F %s %s\n", l.ID(), node.Name(), l.SSHConfig(), node.Name())
		}
	}
	_, _ = io.WriteString(out, text.String())
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
