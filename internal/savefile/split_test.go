package savefile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// saved writes files as libvirt and QEMU do.
type saved struct{ bytes.Buffer }

func (s *saved) big(numbers ...uint64) *saved {
	for _, n := range numbers {
		s.Write(binary.BigEndian.AppendUint64(nil, n))
	}
	return s
}

func (s *saved) kind(kind byte, number uint32) *saved {
	s.WriteByte(kind)
	s.Write(binary.BigEndian.AppendUint32(nil, number))
	return s
}

func (s *saved) named(name string) *saved {
	s.WriteByte(byte(len(name)))
	s.WriteString(name)
	return s
}

func (s *saved) text(text string) *saved { s.WriteString(text); return s }

// head is all before the first section.
func head(compression uint32) *saved {
	s := &saved{}
	s.text(libvirtMagic)
	for _, n := range []uint32{2, 9, 0, compression, 0} {
		s.Write(binary.NativeEndian.AppendUint32(nil, n))
	}
	s.Write(make([]byte, 14*4))
	s.text("<domain/>").text(streamMagic)
	return s.kind(configuration, 10).text("pc-q35-7.2")
}

// blocks adds the first section, which lists the blocks of memory.
func (s *saved) blocks(ram string) *saved {
	s.kind(sectionStart, 3).named("ram")
	s.Write([]byte{0, 0, 0, 0, 0, 0, 0, ramVersion})
	s.big(6*pageSize | flagSizes).named(ram).big(4 * pageSize).named("pc.bios").big(2 * pageSize)
	return s.big(flagEnd).kind(sectionFooter, 3)
}

func page(fill byte) string { return strings.Repeat(string([]byte{fill}), pageSize) }

// whole is a machine with four pages of memory and two of firmware.
func whole() *saved {
	s := head(0).blocks("pc.ram")
	s.kind(sectionPart, 3)
	s.big(0 | flagPage).named("pc.ram").text(page('a'))
	s.big(1*pageSize | flagPage | flagContinue).text(page('b'))
	s.big(2*pageSize | flagZero | flagContinue).text("\x00")
	s.big(1*pageSize | flagPage).named("pc.bios").text(page('f'))
	s.big(flagEnd).kind(sectionFooter, 3)
	s.kind(sectionEnd, 3)
	s.big(0 | flagZero).named("pc.bios").text("\x00")
	s.big(3*pageSize | flagPage).named("pc.ram").text(page('d'))
	s.big(1*pageSize | flagZero | flagContinue).text("\x00") // which it has filled before
	s.big(flagEnd).kind(sectionFooter, 3)
	return s.text("\x04devices, in a form that only they know\x00")
}

// rest is what whole leaves of itself.
func rest() *saved {
	s := head(0).blocks("lab.ram")
	s.kind(sectionPart, 3)
	s.big(1*pageSize | flagPage).named("pc.bios").text(page('f'))
	s.big(flagEnd).kind(sectionFooter, 3)
	s.kind(sectionEnd, 3)
	s.big(0 | flagZero).named("pc.bios").text("\x00")
	s.big(flagEnd).kind(sectionFooter, 3)
	return s.text("\x04devices, in a form that only they know\x00")
}

var names = Names{From: []string{"pc.ram", "lab.ram"}, To: "lab.ram"}

func split(t testing.TB, content []byte) (state, memory []byte, err error) {
	t.Helper()
	dir := t.TempDir()
	statePath, memoryPath := filepath.Join(dir, "state"), filepath.Join(dir, "memory")
	if err := os.WriteFile(statePath, content, 0o600); err != nil {
		t.Fatal(err)
	}
	err = Split(t.Context(), statePath, memoryPath, names)
	state, readErr := os.ReadFile(statePath)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if info, err := os.Stat(memoryPath); err == nil && info.Size() < 1<<20 {
		memory, _ = os.ReadFile(memoryPath)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if wanted := map[bool]int{true: 2, false: 1}[err == nil]; len(files) != wanted {
		t.Fatalf("after %v it leaves %q", err, files)
	}
	return state, memory, err
}

func TestMemoryLeavesTheState(t *testing.T) {
	g := NewWithT(t)
	state, memory, err := split(t, whole().Bytes())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(memory)).To(Equal(page('a') + page(0) + page(0) + page('d')))
	g.Expect(state).To(Equal(rest().Bytes()))
}

func TestWhatWasRestoredFromAnImageIsSplitAgain(t *testing.T) {
	g := NewWithT(t)
	s := head(0).blocks("lab.ram").kind(sectionEnd, 3).big(flagPage).named("lab.ram").text(page('x'))
	state, memory, err := split(t, s.big(flagEnd).kind(sectionFooter, 3).text("\x00").Bytes())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(memory)).To(Equal(page('x') + page(0) + page(0) + page(0)))
	g.Expect(state).NotTo(ContainSubstring("xxxx"))
}

func TestWhatIsOfAnotherFormStaysAsItIs(t *testing.T) {
	end := func(s *saved) []byte { return s.big(flagEnd).kind(sectionFooter, 3).Bytes() }
	last := func() *saved { return head(0).blocks("pc.ram").kind(sectionEnd, 3) }
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"nothing":                   {nil, "it ends too early"},
		"something else":            {bytes.Repeat([]byte("x"), 200), "it does not begin as libvirt's files do"},
		"compressed":                {head(2).Bytes(), "version 2, compression 2, a definition of 9 bytes"},
		"no stream":                 {bytes.Replace(head(0).Bytes(), []byte("QEVM"), []byte("qemu"), 1), `the machine's state begins with "qemu`},
		"another configuration":     {head(0).kind(5, 0).Bytes(), "section 0x5 before the end of the memory"},
		"devices first":             {head(0).kind(4, 3).Bytes(), "section 0x4 before the end of the memory"},
		"another section":           {head(0).kind(sectionStart, 3).named("dirty-bitmap").big(1).Bytes(), `section "dirty-bitmap" of version 1 instead of the memory's`},
		"memory of another name":    {end(head(0).blocks("mem").kind(sectionEnd, 3)), `it has no block called ["pc.ram" "lab.ram"]`},
		"a block larger than all":   {head(0).kind(sectionStart, 3).named("ram").text("\x00\x00\x00\x00\x00\x00\x00\x04").big(pageSize | flagSizes).named("pc.ram").big(9 * pageSize).Bytes(), `block "pc.ram" has 36864 bytes of 4096`},
		"a page beyond the end":     {end(last().big(4*pageSize | flagPage).named("pc.ram").text(page('a'))), "a page at 16384 of a block of 16384 bytes"},
		"a page before the start":   {end(last().big(1<<63 | flagPage).named("pc.ram").text(page('a'))), "of a block of 16384 bytes"},
		"a page of no block":        {end(last().big(flagPage | flagContinue).text(page('a'))), "a page of no block"},
		"full of something":         {end(last().big(flagZero).named("pc.ram").text("\x01")), "a page full of 0x1"},
		"XBZRLE":                    {end(last().big(0x40).named("pc.ram")), "a record of memory with flags 0x40"},
		"cut off in a page":         {whole().Bytes()[:9000], "it ends too early"},
		"cut off before the footer": {last().big(flagEnd).Bytes(), "it ends too early"},
		"another footer":            {last().big(flagEnd).kind(sectionFooter, 4).Bytes(), "a section of memory ends with 7e00000004"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			state, _, err := split(t, test.content)
			g.Expect(err).To(MatchError(And(HavePrefix("take the memory out of /"), ContainSubstring(test.want))))
			g.Expect(errors.Is(err, ErrForm)).To(BeTrue())
			g.Expect(bytes.Equal(state, test.content)).To(BeTrue())
		})
	}
}

func TestSplitEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time left"))
	path := filepath.Join(t.TempDir(), "state")
	g.Expect(os.WriteFile(path, whole().Bytes(), 0o600)).To(Succeed())
	g.Expect(Split(ctx, path, path+".memory", names)).To(MatchError(ContainSubstring("no time left")))
	g.Expect(os.ReadFile(path)).To(Equal(whole().Bytes()))
	g.Expect(path + ".memory").NotTo(BeAnExistingFile())
}

func TestWhereAFileCannotBeMadeTheStateStays(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	g.Expect(os.WriteFile(path, whole().Bytes(), 0o600)).To(Succeed())
	g.Expect(Split(t.Context(), path, filepath.Join(dir, "none", "memory"), names)).To(MatchError(os.ErrNotExist))
	g.Expect(os.ReadFile(path)).To(Equal(whole().Bytes()))
	g.Expect(Split(t.Context(), filepath.Join(dir, "absent"), path+"2", names)).To(MatchError(os.ErrNotExist))
}

func FuzzSplit(f *testing.F) {
	f.Add(whole().Bytes())
	f.Add(rest().Bytes())
	f.Fuzz(func(t *testing.T, content []byte) {
		state, memory, err := split(t, content)
		switch {
		case err != nil && !bytes.Equal(state, content):
			t.Fatal("the state has changed")
		case err == nil && len(state) > len(content)+len(names.To):
			t.Fatalf("%d bytes became %d", len(content), len(state))
		case err == nil && len(bytes.Trim(memory, "\x00")) > 0 && len(state) > len(content)-pageSize+len(names.To):
			t.Fatal("a page of memory is still in the state")
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	s := head(0)
	s.kind(sectionStart, 3).named("ram").text("\x00\x00\x00\x00\x00\x00\x00\x04")
	s.big(64<<20|flagSizes).named("pc.ram").big(64<<20).big(flagEnd).kind(sectionFooter, 3).kind(sectionEnd, 3)
	s.big(flagPage).named("pc.ram").text(page('x'))
	for at := uint64(pageSize); at < 64<<20; at += pageSize {
		s.big(at | flagPage | flagContinue).text(page('x'))
	}
	content := s.big(flagEnd).kind(sectionFooter, 3).Bytes()
	b.SetBytes(64 << 20)
	path := filepath.Join(b.TempDir(), "state")
	for b.Loop() {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			b.Fatal(err)
		}
		if err := Split(b.Context(), path, path+".memory", names); err != nil {
			b.Fatal(err)
		}
	}
}
