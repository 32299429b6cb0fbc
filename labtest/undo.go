package labtest

import (
	"context"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"ionlab/internal/lab"
)

// undoing is the key of a context's own *lab.Undo: what a schedule changes ends with the schedule.
type undoing struct{}

// ginkgoNode tells one run of a node, such as an It or a BeforeAll, from all others.
type ginkgoNode struct {
	order int
	begun time.Time
}

// scope is the Ginkgo node in which something of a lab was changed last, and how to bring that back.
type scope struct {
	node ginkgoNode
	undo *lab.Undo
}

// undo returns where a change is to be remembered. What is changed in a Ginkgo node is brought back at the end of what
// that node belongs to, by DeferCleanup's rules: of the spec for It and BeforeEach, of the container for BeforeAll, of the
// suite for BeforeSuite. Where no node runs, or one that itself cleans up, nothing can be remembered: nil.
func (l *Lab) undo(ctx context.Context) *lab.Undo {
	ginkgo.GinkgoHelper()
	if own, ok := ctx.Value(undoing{}).(*lab.Undo); ok {
		return own
	}
	node, ok := runningNode(ginkgo.CurrentSpecReport())
	if !ok {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.scope.undo == nil || l.scope.node != node {
		l.scope = scope{node, &lab.Undo{}}
		ginkgo.DeferCleanup(l.scope.undo.Run)
	}
	return l.scope.undo
}

// runningNode is the node that runs now, if it is one in which DeferCleanup may be called: Ginkgo ends the process
// elsewhere.
func runningNode(report types.SpecReport) (ginkgoNode, bool) {
	const changing = types.NodeTypeIt | types.NodeTypeBeforeEach | types.NodeTypeJustBeforeEach | types.NodeTypeAfterEach |
		types.NodeTypeJustAfterEach | types.NodeTypeBeforeAll | types.NodeTypeAfterAll | types.NodeTypeBeforeSuite |
		types.NodeTypeAfterSuite | types.NodeTypeSynchronizedBeforeSuite | types.NodeTypeSynchronizedAfterSuite
	for i := len(report.SpecEvents) - 1; i >= 0; i-- {
		event := report.SpecEvents[i]
		switch event.SpecEventType {
		case types.SpecEventNodeEnd:
			return ginkgoNode{}, false
		case types.SpecEventNodeStart:
			return ginkgoNode{event.TimelineLocation.Order, event.TimelineLocation.Time}, event.NodeType.Is(changing)
		}
	}
	return ginkgoNode{}, false
}
