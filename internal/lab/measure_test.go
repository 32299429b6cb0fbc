package lab

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric"
)

func TestStartMeasuresTheLinksThatAreImpaired(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, sites, nil)
	b.up()
	g.Expect(b.told()).To(ContainElements(MatchRegexp(`^: measuring links 3 have impairments$`), MatchRegexp(`^: links measured 3 links in `)))
	measured := b.Measured()
	g.Expect(measured).To(HaveLen(6), "two directions of three links")
	state, err := b.NetState()
	g.Expect(err).NotTo(HaveOccurred())
	for _, link := range state.Links {
		g.Expect(link.Measured).To(HaveLen(2), link.Owner)
	}
	again, err := b.Measure(within(t), []*Link{b.link("bob", "wan")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(HaveLen(2))
	g.Expect(again[0]).To(And(HaveField("Owner", "bob"), HaveField("Direction", fabric.Egress)))
	g.Expect(b.Measured()).To(HaveLen(6), "the newest of each")
	none, err := b.Measure(within(t), nil)
	g.Expect(none, err).To(BeEmpty())
}

func TestLinksAreWrongWhenTheyAreSoInTheQuiet(t *testing.T) {
	t.Parallel()
	for name, failures := range map[string]int{"once": 1, "twice": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			b := newBench(t, sites, nil)
			tries := 0
			b.measure = func(context.Context, []*Link) ([]fabric.Measurement, error) {
				if tries++; tries <= failures {
					return nil, errors.New("measure the links: bob is late")
				}
				return nil, nil
			}
			err := b.Start(within(t))
			g.Expect(tries).To(Equal(2))
			g.Expect(b.told()).To(ContainElement(HavePrefix(": measuring links again measure the links: bob is late")))
			if failures == 1 {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(HavePrefix("measure the links: bob is late\nThe links do not do what the topology says.")))
		})
	}
}

func TestMeasuringTellsWhyItCouldNot(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, sites, nil)
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("no time left"))
	b.cfg.SkipMeasuring = false
	err := b.prove(ctx)
	g.Expect(err).To(MatchError(And(HavePrefix("measure the links: "), ContainSubstring("no time left"), ContainSubstring("labtest.WithoutMeasuring()"))))
	g.Expect(b.Close()).To(Succeed())
	_, err = b.Measure(within(t), b.Links())
	g.Expect(err).To(MatchError(ErrClosed))
}
