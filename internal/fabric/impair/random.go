package impair

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
)

// Key names the random sequences of one direction of a link. Different keys have independent sequences.
type Key struct {
	Seed                      uint64
	Network, Owner, Direction string
}

// stream is a sequence of random numbers for one purpose.
type stream struct{ rand *rand.Rand }

// stream derives the sequence for a purpose. Each purpose has its own, so that none moves another's.
func (k Key) stream(purpose string) stream {
	text := binary.BigEndian.AppendUint64([]byte("ionlab impairment\x00"), k.Seed)
	for _, part := range []string{k.Network, k.Owner, k.Direction, purpose} {
		text = append(append(text, part...), 0)
	}
	sum := sha256.Sum256(text)
	return stream{rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])))}
}

// chance is a probability in units of 2^-53.
type chance uint64

const certain = 1 << 53

func chanceOf(percent float64) chance { return chance(percent / 100 * certain) }

// happens draws once, whatever the chance.
func (s stream) happens(c chance) bool { return s.rand.Uint64()>>11 < uint64(c) }

// spread draws a number around zero: from -1 to 1, or with a standard deviation of 1 and none beyond 4.
func (s stream) spread(d Distribution) float64 {
	if d == Normal {
		return max(-maxSigma, min(maxSigma, s.rand.NormFloat64()))
	}
	return 2*s.rand.Float64() - 1
}

const maxSigma = 4
