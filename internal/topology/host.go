package topology

import (
	"fmt"
	"os"
	"slices"
)

// Host says what the machine that is to run the lab has to give.
type Host struct {
	// Arch is the guests' architecture, as Go or as uname names it: amd64 or x86_64, arm64 or aarch64. Empty skips the
	// check of deployed programs.
	Arch string
	// MemoryMB is the memory that all nodes together may have, in MiB; 0 skips the check.
	MemoryMB int
	// DiskFreeMB is what is free where overlays grow, in MiB; 0 skips the check.
	DiskFreeMB int
	// Images are the names that the image catalog knows.
	Images []string
}

// Disks are thin, so only what is plainly impossible is refused: a lab needs this much whatever its disks could grow to.
const (
	diskForLabMB  = 1024
	diskForNodeMB = 256
)

// CheckHost returns Problems where the host cannot run the topology: not enough memory, hardly any disk, an image that
// nobody knows, or a program to deploy that was built for another architecture. It returns nil where none is known.
// Sources that cannot be read are left to CheckSources.
func (t *Topology) CheckHost(h Host) error {
	r := &report{file: t.File}
	t.checkMemory(r, h.MemoryMB)
	t.checkDisk(r, h.DiskFreeMB)
	for i := range t.Nodes {
		node := &t.Nodes[i]
		if c := checkImage(node.Image, h.Images); c != nil {
			r.add(node.imageAt, *c)
		}
		for _, d := range node.Deploy {
			if c := checkProgram(d.Src, h.Arch); c != nil {
				r.add(d.at, *c)
			}
		}
	}
	return r.err()
}

func (t *Topology) checkMemory(r *report, memoryMB int) {
	sum := 0
	for _, node := range t.Nodes {
		sum += node.MemoryMB
	}
	if memoryMB > 0 && sum > memoryMB {
		r.addf(t.nodesAt, "lower memory_mb or count, or use a larger host",
			"the nodes need %d MiB of memory together, the host has %d", sum, memoryMB)
	}
}

func (t *Topology) checkDisk(r *report, freeMB int) {
	need := diskForLabMB + diskForNodeMB*len(t.Nodes)
	if freeMB > 0 && freeMB < need {
		r.addf(t.nodesAt, "free some space; labtest gc removes what dead labs left",
			"%d nodes need at least %d MiB of disk, %d are free", len(t.Nodes), need, freeMB)
	}
}

func checkImage(image string, known []string) *complaint {
	switch {
	case isImageURL(image) || slices.Contains(known, image):
		return nil
	case isImagePath(image):
		info, err := os.Stat(image)
		switch {
		case err != nil:
			return &complaint{fmt.Sprintf("the image file %s cannot be read: %s", quotePath(image), cause(err)), "correct the path"}
		case !info.Mode().IsRegular():
			return &complaint{fmt.Sprintf("%s is not a file", quotePath(image)), "name the image file"}
		}
		return nil
	}
	return &complaint{
		quote(image) + " is not an image of the catalog",
		didYouMean(image, known) + "; labtest image import FILE adds one",
	}
}
