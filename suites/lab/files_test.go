package lab_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "ionlab/matchers"
)

func fileSpecs() {
	It("copies a tree of 1000 files there and back, with modes, links, empty and odd names", func(ctx SpecContext) {
		src := GinkgoT().TempDir()
		makeTree(src, 1000)
		Expect(bench.Upload(ctx, src, "/var/tmp/tree")).To(Succeed())
		Expect(bench.Shell(ctx, "find /var/tmp/tree -type f | wc -l")).To(OutputMatching(`^1000\n$`))
		back := filepath.Join(GinkgoT().TempDir(), "back")
		Expect(bench.Download(ctx, "/var/tmp/tree", back)).To(Succeed())
		Expect(listTree(back)).To(Equal(listTree(src)))
		Expect(bench.Exec(ctx, "rm", "-r", "/var/tmp/tree")).To(ExitWith(0))
	}, NodeTimeout(4*time.Minute))

	DescribeTable("copies a large file into the guest, and a quarter of it back, without holding them in memory", func(ctx SpecContext, size int64) {
		src := filepath.Join(GinkgoT().TempDir(), "big")
		sum, quarter := makeBig(src, size)
		before := residentKB()
		Expect(bench.Upload(ctx, src, "/var/tmp/big")).To(Succeed())
		Expect(os.Remove(src)).To(Succeed())
		Expect(bench.Exec(ctx, "sha256sum", "/var/tmp/big")).To(OutputContaining(sum))
		Expect(bench.Exec(ctx, "truncate", "--size", fmt.Sprint(size/4), "/var/tmp/big")).To(ExitWith(0))
		Expect(bench.Download(ctx, "/var/tmp/big", src)).To(Succeed())
		Expect(hashFile(src)).To(Equal(quarter))
		Expect(residentKB()-before).To(BeNumerically("<", size*2/5>>10), "kB of memory that the copies cost")
		Expect(bench.Exec(ctx, "rm", "/var/tmp/big")).To(ExitWith(0))
	},
		Entry("128 MiB", int64(128<<20), NodeTimeout(20*time.Minute)),
		Entry("1 GiB", int64(1<<30), Label("large"), NodeTimeout(40*time.Minute)),
	)

	It("says why a target cannot be written, and leaves nothing there", func(ctx SpecContext) {
		Expect(bench.WriteFile(ctx, "/proc/labtest/file", []byte("x"), 0o644)).To(MatchError(ContainSubstring("/proc/labtest")))
		Expect(bench.Shell(ctx, "mkdir -p /mnt/ro && mount -t tmpfs -o ro none /mnt/ro")).To(ExitWith(0))
		DeferCleanup(bench.Exec, "umount", "/mnt/ro")
		Expect(bench.WriteFile(ctx, "/mnt/ro/file", []byte("x"), 0o644)).To(MatchError(ContainSubstring("ead-only")))
		Expect(bench.Exec(ctx, "ls", "-A", "/mnt/ro")).To(And(ExitWith(0), OutputMatching(`^$`)))
	}, NodeTimeout(time.Minute))

	It("says that the disk is full, keeps the old file whole and leaves no half one", func(ctx SpecContext) {
		Expect(bench.Shell(ctx, "mkdir -p /mnt/small && mount -t tmpfs -o size=8m none /mnt/small && echo old > /mnt/small/file")).To(ExitWith(0))
		DeferCleanup(bench.Exec, "umount", "/mnt/small")
		src := filepath.Join(GinkgoT().TempDir(), "file")
		Expect(os.WriteFile(src, make2(32<<20), 0o600)).To(Succeed())
		Expect(bench.Upload(ctx, src, "/mnt/small/file")).To(MatchError(ContainSubstring("o space left on device")))
		Expect(bench.Exec(ctx, "ls", "-A", "/mnt/small")).To(OutputMatching(`^file\n$`))
		Expect(bench.Exec(ctx, "cat", "/mnt/small/file")).To(OutputMatching(`^old\n$`))
	}, NodeTimeout(2*time.Minute))

	It("names a source that is not there", func(ctx SpecContext) {
		Expect(bench.Upload(ctx, "/no/such/source", "/var/tmp/x")).To(MatchError(ContainSubstring("/no/such/source")))
		Expect(bench.Download(ctx, "/no/such/source", GinkgoT().TempDir())).To(MatchError(ContainSubstring("/no/such/source")))
		_, err := bench.ReadFile(ctx, "/no/such/source")
		Expect(err).To(MatchError(ContainSubstring("/no/such/source")))
	}, NodeTimeout(time.Minute))

	It("deploys a program, ready to run", func(ctx SpecContext) {
		src := filepath.Join(GinkgoT().TempDir(), "tool")
		Expect(os.WriteFile(src, []byte("#!/bin/sh\necho it runs\n"), 0o600)).To(Succeed())
		Expect(bench.Deploy(ctx, src)).To(Succeed())
		Expect(bench.Exec(ctx, "tool")).To(And(ExitWith(0), OutputContaining("it runs")))
		Expect(bench.Exec(ctx, "stat", "-c", "%a %U %n", "/usr/local/bin/tool")).To(OutputMatching(`^755 root /usr/local/bin/tool\n$`))
	}, NodeTimeout(time.Minute))
}

// make2 returns n bytes that do not compress and are no hole.
func make2(n int) []byte {
	data := make([]byte, n)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(data)
	return data
}

// makeBig writes a large file that does not compress, and returns the digests of all of it and of its first quarter.
func makeBig(path string, size int64) (whole, quarter string) {
	GinkgoHelper()
	file, err := os.Create(path)
	Expect(err).NotTo(HaveOccurred())
	hash, source := sha256.New(), rand.NewChaCha8([32]byte{2})
	_, err = io.CopyN(io.MultiWriter(file, hash), source, size/4)
	Expect(err).NotTo(HaveOccurred())
	quarter = hex.EncodeToString(hash.Sum(nil))
	_, err = io.CopyN(io.MultiWriter(file, hash), source, size*3/4)
	Expect(err).NotTo(HaveOccurred())
	Expect(file.Close()).To(Succeed())
	return hex.EncodeToString(hash.Sum(nil)), quarter
}

func hashFile(path string) string {
	GinkgoHelper()
	file, err := os.Open(path)
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	Expect(err).NotTo(HaveOccurred())
	return hex.EncodeToString(hash.Sum(nil))
}

func makeTree(dir string, files int) {
	GinkgoHelper()
	modes := []fs.FileMode{0o644, 0o600, 0o755, 0o444, 0o640}
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprintf("dir %d", i%20), "sub")
		Expect(os.MkdirAll(sub, 0o755)).To(Succeed())
		path := filepath.Join(sub, fmt.Sprintf("file'%d\"$x", i))
		Expect(os.WriteFile(path, make2(i*7), 0o600)).To(Succeed())
		Expect(os.Chmod(path, modes[i%len(modes)])).To(Succeed())
	}
	Expect(os.Symlink("dir 1/sub", filepath.Join(dir, "link"))).To(Succeed())
	Expect(os.Symlink("nowhere", filepath.Join(dir, "dangling"))).To(Succeed())
	Expect(os.Mkdir(filepath.Join(dir, "empty"), 0o700)).To(Succeed())
}

// listTree describes everything below dir: name, mode, and target or content.
func listTree(dir string) []string {
	GinkgoHelper()
	var list []string
	Expect(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		line := name + " " + info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line = name + " -> " + target
		case info.Mode().IsRegular():
			line += " " + hashFile(path)
		}
		list = append(list, line)
		return nil
	})).To(Succeed())
	return list
}

// residentKB is the memory this process holds now, in kB (VmRSS of proc(5)).
func residentKB() int {
	GinkgoHelper()
	file, err := os.Open("/proc/self/status")
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			var kb int
			_, err := fmt.Sscan(rest, &kb)
			Expect(err).NotTo(HaveOccurred())
			return kb
		}
	}
	Fail("/proc/self/status has no VmRSS")
	return 0
}
