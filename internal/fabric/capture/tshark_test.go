package capture

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// TestTsharkShowsWhatWeWrote asks the program that these files are for.
func TestTsharkShowsWhatWeWrote(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not here: apt install tshark")
	}
	g := NewWithT(t)
	var file bytes.Buffer
	w, err := NewWriter(&file, twoLinks)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Frame(Frame{At: noon, Interface: 0, Direction: Outbound, Data: ethernet(61)})).To(Succeed())
	g.Expect(w.Comment(noon.Add(1), "By: the link goes down")).To(Succeed())
	g.Expect(w.Frame(Frame{At: noon.Add(2), Interface: 1, Direction: Inbound, Length: 1514, Data: ethernet(100)})).To(Succeed())
	g.Expect(w.Close([]Statistics{{Began: noon, Ended: noon.Add(time.Second), Received: 5, Dropped: 4}, {Began: noon, Ended: noon}})).To(Succeed())
	path := filepath.Join(t.TempDir(), "c.pcapng")
	g.Expect(os.WriteFile(path, file.Bytes(), 0o600)).To(Succeed())

	fields := []string{"frame.time_epoch", "frame.interface_name", "frame.packet_flags_direction", "frame.len", "frame.cap_len", "frame.comment"}
	args := []string{"-r", path, "-T", "fields", "-E", "separator=|"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.CommandContext(t.Context(), tshark, args...).Output()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(out)).To(Equal(`1795435200.123456789|alice@wan|0x00000002|61|61|
1795435200.123456790|comments||36|36|By: the link goes down
1795435200.123456791|bob@wan|0x00000001|1514|100|
`))
}
