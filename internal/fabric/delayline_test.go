package fabric

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

// Whatever comes in whatever order, what is due comes out by its time, and those of the same time as they came.
func TestDelayLineIsAQueueByTime(t *testing.T) {
	g := NewWithT(t)
	random := rand.New(rand.NewPCG(1, 2))
	var line delayLine
	var model []held
	pool := new(framePool)
	memory := 0
	for step := range 20000 {
		if random.IntN(3) > 0 || step < 300 {
			due := int64(step)
			if random.IntN(10) == 0 {
				due -= int64(random.IntN(200))
			}
			f := pool.get(60)
			model = append(model, held{due: due, seq: line.seq, f: f})
			line.push(f, due)
			memory += cap(f.buf)
		} else {
			now := int64(step) - int64(random.IntN(150))
			slices.SortFunc(model, func(a, b held) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.seq, b.seq)) })
			n := 0
			for n < len(model) && n < 8 && model[n].due <= now {
				memory -= cap(model[n].f.buf)
				n++
			}
			g.Expect(line.pop(make([]held, 0, 8), now)).To(HaveExactElements(model[:n]))
			model = model[n:]
		}
	}
	g.Expect(line.memory).To(Equal(memory))
	g.Expect(line.pop(make([]held, 0, len(model)+1), never-1)).To(HaveLen(len(model)))
	g.Expect(line.head()).To(BeEquivalentTo(never))
	g.Expect(line.memory).To(BeZero())
}
