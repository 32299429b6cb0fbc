package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestASampleKnowsItsMedian(t *testing.T) {
	g := NewWithT(t)
	var s sample
	for _, value := range []float64{3, 1, 2} {
		s.add(value)
	}
	g.Expect(s).To(Equal(sample{Values: []float64{3, 1, 2}, Median: 2, Min: 1, Max: 3}))
	s.add(10)
	g.Expect(s.Median).To(Equal(2.5))
	g.Expect(s.String()).To(Equal("2.50 (1.00–10.0)"))
}

func TestAnAimIsMetMissedOrNotMeasured(t *testing.T) {
	g := NewWithT(t)
	r := row{Aim: 1.15}
	g.Expect(r.verdict()).To(Equal("not measured"))
	r.Ours.add(2.3)
	g.Expect(r.verdict()).To(Equal("not measured"))
	r.Their.add(2)
	g.Expect(r.verdict()).To(Equal("met"))
	r.Ours.add(3)
	g.Expect(r.verdict()).To(Equal("missed"))
	r.Aim = 0
	g.Expect(r.verdict()).To(BeEmpty())
}

func TestTheReportIsATableAndJSON(t *testing.T) {
	g := NewWithT(t)
	r := &report{Commit: "abc1234", Accelerator: "tcg", Processors: 2, LoadBefore: "0.50", LoadAfter: "2.00"}
	met := &row{Name: "revert", Unit: "s", Aim: 1.15, Load: "1.00", Plain: "by hand"}
	met.Ours.add(2)
	met.Their.add(2)
	met.OurWork.add(3)
	met.TheirWork.add(2)
	r.Rows = []*row{met, {Name: "copy", Aim: 1}}
	g.Expect(r.unmet()).To(HaveExactElements(r.Rows[1]), "what was not measured is not met")
	var table bytes.Buffer
	g.Expect(r.markdown(&table)).To(Succeed())
	g.Expect(table.String()).To(ContainSubstring("| revert | s | 2.00 (2.00–2.00) | 2.00 (2.00–2.00) | 1.00 | ≤ 1.15 | met | 3.00 / 2.00 = 1.50 | 1 | 1.00 | by hand |"))

	dir := filepath.Join(t.TempDir(), "out")
	g.Expect(r.save(dir)).To(Succeed())
	data, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	g.Expect(err).NotTo(HaveOccurred())
	var back report
	g.Expect(json.Unmarshal(data, &back)).To(Succeed())
	g.Expect(back.Rows[0].Ratio).To(Equal(1.0))
	g.Expect(filepath.Join(dir, "lab.md")).To(BeARegularFile())
}

func TestOptions(t *testing.T) {
	g := NewWithT(t)
	o, err := parse([]string{"-parts", "warm,exec", "-nodes", "1,4", "-rounds", "2"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.parts).To(Equal([]string{"warm", "exec"}))
	g.Expect(o.nodes).To(Equal([]int{1, 4}))
	_, err = parse([]string{"-parts", "luke"})
	g.Expect(err).To(MatchError(`-parts: there is no "luke"; there are warm, revert, exec, copy, cold`))
	_, err = parse([]string{"-nodes", "0"})
	g.Expect(err).To(MatchError(ContainSubstring(`-nodes: "0" is no number of machines`)))
}

func TestTheUserNetworkHasTheLabsAddresses(t *testing.T) {
	g := NewWithT(t)
	m := &machine{name: "bench-1-node-1", dir: "/w/p/m"}
	const saved = `<domain type="qemu" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"><name>bench-1-node-1</name><devices>
<disk type="file"><source file="/a"/><target dev="vda"/></disk><disk type="file"><source file="/b"/><target dev="vdb"/></disk>
<serial type="unix"><source mode="bind" path="/c"/><log file="/d" append="on"/></serial>
<channel type="unix"><source mode="bind" path="/e"/><target type="virtio" name="x"/></channel></devices>
<qemu:commandline><qemu:arg value="-netdev"/><qemu:arg value="stream,id=lab0,server=off"/></qemu:commandline></domain>`
	xml, err := m.replace(saved, "user,id=lab0", "/snapshot/seed.iso")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(xml).To(And(
		ContainSubstring(`<source file="/w/p/m/disk.qcow2">`), ContainSubstring(`<source file="/snapshot/seed.iso">`),
		ContainSubstring(`value="user,id=lab0"`), Not(ContainSubstring("stream,")), Not(ContainSubstring(`"/e"`)),
	))
	m.name = "another"
	_, err = m.replace(saved, "user,id=lab0", "/seed")
	g.Expect(err).To(MatchError(`the saved machine is called "bench-1-node-1", not "another"`))
}

func TestTheWorkOfAFamilyGrows(t *testing.T) {
	g := NewWithT(t)
	watch := startWatch()
	command := exec.CommandContext(t.Context(), "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	g.Expect(command.Run()).To(Succeed())
	spent := watch.read()
	g.Expect(spent.work).To(BeNumerically(">", 0), "a child that has ended counts")
	g.Expect(spent.took).To(BeNumerically(">", 0))
}
