// Package lab turns a topology into a running lab: it composes the leaves (image, seed, domain, fabric, guest,
// artifact), starts nodes, watches over them and takes everything down again.
package lab
