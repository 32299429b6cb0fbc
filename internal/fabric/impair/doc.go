// Package impair is the arithmetic of an impaired link: what is done to each frame that passes in one direction, and when it
// arrives. It is pure: it knows sizes and times and is told both, so that a test needs no clock and a seed gives the same
// sequence on every machine.
package impair
