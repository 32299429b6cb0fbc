// Package topology reads the YAML description of a lab: machines and the networks between them.
//
// Load and Parse work in four steps: parse turns YAML into typed values with their places in the file, applyDefaults
// fills in what the file leaves out, validate looks for contradictions, and plan computes what a lab is built from:
// addresses, MAC addresses, the nodes that a count stands for, and the impairments of each link. No step stops at its
// first finding; all findings of all steps come back together as Problems.
//
// What depends on the machine that runs the lab is asked for separately: CheckSources (files to deploy) and CheckHost
// (memory, disk, images, architectures).
//
// A Topology is plain data. Nothing in this package keeps state, starts goroutines or writes files.
package topology
