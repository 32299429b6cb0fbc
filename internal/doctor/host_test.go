package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// These look at the machine at hand through the real functions, as far as any machine is alike.

func TestFreeCountsWhereTheFolderWillBe(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	bytes, err := free(filepath.Join(dir, "not", "yet", "there"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes).To(BeNumerically(">", 0))
	g.Expect(os.ReadDir(dir)).To(BeEmpty(), "the trial file is gone and no folder was made")

	file := filepath.Join(dir, "file")
	g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
	_, err = free(filepath.Join(file, "below"))
	g.Expect(err).To(MatchError(syscall.ENOTDIR))
	_, err = free(file)
	g.Expect(err).To(MatchError(syscall.ENOTDIR))
}

func TestFreeRefusesAFolderOfOthers(t *testing.T) {
	g := NewWithT(t)
	// Not even root writes here.
	_, err := free("/proc/labtest")
	g.Expect(err).To(HaveOccurred())
}

func TestLookPathFindsProgramsOfTheSystem(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\n"), 0o700)).To(Succeed())
	t.Setenv("PATH", dir)
	g.Expect(lookPath("tool")).To(Equal(filepath.Join(dir, "tool")))
	// ldconfig is in an sbin folder wherever there is a C library.
	g.Expect(lookPath("ldconfig")).To(HaveSuffix("sbin/ldconfig"))
	_, err := lookPath("no-such-program")
	g.Expect(err).To(MatchError(ContainSubstring("no-such-program")))
}

func TestOutputIsBothStreamsAndEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	text, err := output(t.Context(), "/bin/sh", "-c", "echo one; echo two >&2; exit 3")
	g.Expect(err).To(MatchError("exit status 3"))
	g.Expect(text).To(Equal("one\ntwo"))

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	// The shell's child keeps the pipe open after the shell was killed.
	_, err = output(ctx, "/bin/sh", "-c", "sleep 8 & wait")
	g.Expect(err).To(HaveOccurred())
	g.Expect(time.Since(began)).To(BeNumerically("<", 7*time.Second))
}

func TestOpenDeviceTellsAbsenceFromRefusal(t *testing.T) {
	g := NewWithT(t)
	g.Expect(openDevice("/dev/null")).To(Succeed())
	g.Expect(errors.Is(openDevice("/dev/no-such-device"), fs.ErrNotExist)).To(BeTrue())
}

func TestUsers(t *testing.T) {
	g := NewWithT(t)
	uid, name := currentUser()
	g.Expect(uid).To(Equal(os.Geteuid()))
	g.Expect(name).NotTo(BeEmpty())
	g.Expect(knowsUser("root")).To(Succeed())
	g.Expect(knowsUser("no-such-user")).To(MatchError(ContainSubstring("no-such-user")))
}

func TestReachTakesAnyAnswer(t *testing.T) {
	g := NewWithT(t)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	g.Expect(reach(t.Context(), server.URL+"/debian")).To(Succeed())

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := "http://" + listener.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	g.Expect(reach(ctx, address)).To(MatchError(context.DeadlineExceeded), "accepts and stays silent")
	g.Expect(listener.Close()).To(Succeed())
	g.Expect(reach(t.Context(), address)).To(MatchError(syscall.ECONNREFUSED))
	g.Expect(reach(t.Context(), "::")).NotTo(Succeed())
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]string{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)": "7.2.22",
		"libvirtd (libvirt) 9.0.0":                                       "9.0.0",
		"OpenSSH_9.2p1 Debian-2":                                         "9.2",
		"mke2fs 1.47.0":                                                  "1.47.0",
	} {
		g := NewWithT(t)
		found, understood := versionIn(text)
		g.Expect(understood).To(BeTrue(), text)
		g.Expect(found.String()).To(Equal(want))
	}
	g := NewWithT(t)
	_, understood := versionIn("no number, 7 alone")
	g.Expect(understood).To(BeFalse())
	_, understood = versionIn("99999999999999999999.1")
	g.Expect(understood).To(BeFalse())
	g.Expect(version{7, 2}.less(version{7, 2})).To(BeFalse())
	g.Expect(version{7, 2, 1}.less(version{7, 2})).To(BeFalse())
	g.Expect(version{7}.less(version{7, 2})).To(BeTrue())
	g.Expect(version{10, 0}.less(version{7, 2})).To(BeFalse())
}
