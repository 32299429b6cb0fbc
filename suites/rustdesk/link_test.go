package rustdesk_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
	"ionlab/labtest"
	. "ionlab/matchers"
)

// lineSpecs are the short forms of what the lines of rustdesk-wan.yaml do to a session.
func lineSpecs(w *world) {
	impair := func(ctx SpecContext, i labtest.Impairment) {
		GinkgoHelper()
		Expect(w.desk.Link("lan").Impair(ctx, i)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(w.desk.Link("lan").Reset(ctx)).To(Succeed()) })
	}

	It("logs in three times of three where 5 % are lost (C35)", Label(exhaustive), func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{Loss: 5})
		for try := range 3 {
			Expect(w.connect(ctx, rustdesk.Connection{List: "/"}).Error).To(BeEmpty(), "login %d", try+1)
		}
		Expect(w.listed(ctx)).To(BeTrue())
	}, NodeTimeout(3*time.Minute))

	It("carries 256 KiB byte for byte while the delay changes by 80 ms (R27)", Label(exhaustive), func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{Delay: 100 * time.Millisecond, Jitter: 80 * time.Millisecond, Loss: labtest.None, Rate: labtest.None})
		s := w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: mebibyte / 4})
		Expect(s.Error).To(BeEmpty())
		Expect(s.Echo.Exact).To(BeTrue())
		Expect(s.Echo.RTT).To(BeNumerically(">=", 40*time.Millisecond), "the line is what it should be")
		reportSession("100 ms and up to 80 ms more or less, each way", s)
	}, NodeTimeout(3*time.Minute))

	It("carries 1 MiB byte for byte where packets have 1280 bytes at most (R27)", Label(exhaustive), func(ctx SpecContext) {
		const mtu, headers = 1280, 40
		setMTU := func(ctx SpecContext, bytes int) {
			GinkgoHelper()
			Expect(w.desk.Shell(ctx, fmt.Sprintf(`ip link set mtu %d dev "$(ip -o -4 addr show to %s | awk '{print $2}')"`, bytes, w.desk.Addr("lan")))).To(ExitWith(0))
		}
		setMTU(ctx, mtu)
		DeferCleanup(func(ctx SpecContext) { setMTU(ctx, 1500) })
		capture, err := w.desk.Link("lan").Capture(ctx)
		Expect(err).NotTo(HaveOccurred())
		s := w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: mebibyte})
		Expect(s.Error).To(BeEmpty())
		Expect(s.Echo.Exact).To(BeTrue())
		reportSession("packets of 1280 bytes", s)
		most := 0
		for _, p := range packets(capture) {
			if client := w.client.Addr("lan"); p.tcp && (p.from.Addr() == client || p.to.Addr() == client) {
				most = max(most, p.bytes)
			}
		}
		Expect(most).To(And(BeNumerically("<=", mtu-headers), BeNumerically(">", mtu-headers-100)), "the session's longest segment")
	}, NodeTimeout(3*time.Minute))
}

func repetitionSpecs(w *world) {
	It("is connected to five times in a row, and keeps nothing of a session that is over (R33)", Label(exhaustive), func(ctx SpecContext) {
		kept := fmt.Sprintf(`ss -Htnp state established | grep '"rustdesk"' | grep -cF ' %s:'; true`, w.client.Addr("lan"))
		for try := range 5 {
			Expect(w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: 1000}).Echo).To(HaveField("Exact", true), "time %d", try+1)
			Eventually(ctx, w.desk.Shell).WithArguments(kept).Within(10 * time.Second).ProbeEvery(300 * time.Millisecond).Should(OutputMatching(`^0\n$`))
		}
	}, NodeTimeout(3*time.Minute))

	It("serves two clients at once (R37)", Label(exhaustive), func(ctx SpecContext) {
		second, err := kit.Client(ctx, w.server)
		Expect(err).NotTo(HaveOccurred())
		first := w.hold(ctx, 10*time.Second)
		s, err := second.Connect(ctx, rustdesk.Connection{ID: w.id, Settings: w.to, Password: password, Forward: w.echo, Bytes: mebibyte / 4})
		Expect(err).NotTo(HaveOccurred())
		Expect(first).NotTo(Receive(), "the first goes on")
		Expect(s).To(And(HaveField("Error", ""), HaveField("Echo.Exact", true)))
		var held *rustdesk.Session
		Eventually(ctx, first).Within(time.Minute).Should(Receive(&held))
		Expect(held).To(And(HaveField("Error", ""), HaveField("Held", "to the end")))
	}, NodeTimeout(3*time.Minute))
}
