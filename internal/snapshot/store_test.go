package snapshot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

func open(t testing.TB, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{Dir: filepath.Join(t.TempDir(), "snapshots"), Now: (&clock{now: time.Unix(1700000000, 0)}).Now}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(cfg)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return s
}

func keyOf(name string) string { return Inputs{"name": name}.Key() }

// fill commits an entry with some content and returns it in use.
func fill(t testing.TB, s *Store, key, content string) *Entry {
	t.Helper()
	g := NewWithT(t)
	d, err := s.Begin(within(t), key, "fills it", nil)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(d.Close()).To(Succeed()) }()
	g.Expect(os.WriteFile(d.Path("a.memory"), []byte(content), 0o600)).To(Succeed())
	source := filepath.Join(t.TempDir(), "overlay")
	g.Expect(os.WriteFile(source, []byte("layer of "+content), 0o600)).To(Succeed())
	g.Expect(d.Take(source, "a.qcow2")).To(Succeed())
	g.Expect(source).NotTo(BeAnExistingFile())
	e, err := d.Commit(within(t), &Manifest{Topology: "lab", Inputs: Inputs{"name": "x"}, Nodes: []Node{{Name: "a", UUID: "u", Nonce: "n"}}})
	g.Expect(err).NotTo(HaveOccurred())
	return e
}

func TestAKeyFollowsFromEveryInput(t *testing.T) {
	g := NewWithT(t)
	base := Inputs{"a": "1", "b": "2"}
	g.Expect(base.Key()).To(MatchRegexp(`^[0-9a-f]{32}$`))
	g.Expect(Inputs{"b": "2", "a": "1"}.Key()).To(Equal(base.Key()))
	for _, other := range []Inputs{{"a": "1"}, {"a": "1", "b": "3"}, {"a": "1", "c": "2"}, {"a": "1\nb=2"}, {"a": "1", "b": "2", "c": ""}} {
		g.Expect(other.Key()).NotTo(Equal(base.Key()))
	}
}

func TestEntryComesBackAsItWasCommitted(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, nil), keyOf("x")
	_, err := s.Get(within(t), key)
	g.Expect(err).To(MatchError(ErrAbsent))
	e := fill(t, s, key, "memory")
	g.Expect(e.Close()).To(Succeed())
	g.Expect(e.Close()).To(Succeed())
	got, err := s.Get(within(t), key)
	g.Expect(err).NotTo(HaveOccurred())
	defer got.Close()
	g.Expect(got.Manifest).To(Equal(e.Manifest))
	g.Expect(os.ReadFile(got.Path("a.memory"))).To(Equal([]byte("memory")))
	g.Expect(os.ReadFile(got.Path("a.qcow2"))).To(Equal([]byte("layer of memory")))
	for name, mode := range map[string]os.FileMode{"a.memory": 0o400, "a.qcow2": 0o400, manifestName: 0o600} {
		info, err := os.Stat(got.Path(name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Mode().Perm()).To(Equal(mode), name)
	}
	g.Expect(s.Verify(within(t), key)).To(Succeed())
	g.Expect((*Entry)(nil).Close()).To(Succeed())
	g.Expect((*Draft)(nil).Close()).To(Succeed())
}

func TestDamageIsNamedAndNotHandedOut(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(g Gomega, e *Entry, s *Store)
		want  string
	}{
		"flipped byte": {func(g Gomega, e *Entry, _ *Store) { change(g, e.Path("a.memory"), "mEmory") }, "the content of a.memory has changed"},
		"truncated":    {func(g Gomega, e *Entry, _ *Store) { change(g, e.Path("a.qcow2"), "layer") }, "a.qcow2 has 5 bytes instead of 15"},
		"missing": {func(g Gomega, e *Entry, _ *Store) {
			g.Expect(os.Remove(e.Path("a.qcow2"))).To(Succeed())
		}, "a.qcow2 is missing"},
		"manifest": {func(g Gomega, e *Entry, _ *Store) {
			data, err := os.ReadFile(e.Path(manifestName))
			g.Expect(err).NotTo(HaveOccurred())
			change(g, e.Path(manifestName), string(data[:len(data)-2])+" }")
		}, "has changed since it was written"},
		"reference": {func(g Gomega, e *Entry, s *Store) { change(g, s.refPath(e.Manifest.Key), "rubbish") }, "is no reference"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s, key := open(t, nil), keyOf("x")
			e := fill(t, s, key, "memory")
			test.spoil(g, e, s)
			g.Expect(e.Close()).To(Succeed())
			err := get(t, s, key)
			var damaged *DamagedError
			g.Expect(errors.As(err, &damaged)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(And(HavePrefix("snapshot "+Short(key)+" is damaged: "), ContainSubstring(test.want))))
			g.Expect(s.Discard(within(t), key)).To(Succeed())
			_, err = s.Get(within(t), key)
			g.Expect(err).To(MatchError(ErrAbsent))
			g.Expect(fill(t, s, key, "memory").Close()).To(Succeed())
			_, err = s.GC(within(t), ModeRemove)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.ReadDir(s.path(entriesDir))).To(HaveLen(1), "what was damaged is gone")
		})
	}
}

// get takes an entry into use, checks it and lets go of it.
func get(t testing.TB, s *Store, key string) error {
	t.Helper()
	e, err := s.Get(within(t), key)
	if err != nil {
		return err
	}
	return errors.Join(e.Check(within(t)), e.Close())
}

func change(g Gomega, path, content string) {
	g.Expect(os.Chmod(path, 0o600)).To(Succeed())
	g.Expect(os.WriteFile(path, []byte(content), 0o600)).To(Succeed())
}

func TestTwoThatWantTheSameKeyWaitForOne(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, nil), keyOf("x")
	first, err := s.Begin(within(t), key, "starts lab a1b2c3", nil)
	g.Expect(err).NotTo(HaveOccurred())
	holders := make(chan string, 10)
	second := make(chan *Draft, 1)
	go func() {
		d, err := s.Begin(within(t), key, "starts another", func(holder string) { holders <- holder })
		if err == nil {
			second <- d
		}
	}()
	g.Eventually(holders).WithTimeout(patience).Should(Receive(MatchRegexp(`^process \d+ starts lab a1b2c3$`)))
	g.Consistently(second).WithTimeout(100 * time.Millisecond).ShouldNot(Receive())
	other, err := s.Begin(within(t), keyOf("y"), "", nil)
	g.Expect(err).NotTo(HaveOccurred(), "another key does not wait")
	g.Expect(other.Close()).To(Succeed())
	g.Expect(first.Close()).To(Succeed())
	g.Expect(first.Close()).To(Succeed())
	var d *Draft
	g.Eventually(second).WithTimeout(patience).Should(Receive(&d))
	g.Expect(d.Close()).To(Succeed())
	g.Expect(os.ReadDir(s.path(locksDir))).To(BeEmpty(), "no lock file stays")
	g.Expect(os.ReadDir(s.path(tmpDir))).To(HaveLen(1), "but for the lock over all")
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, nil), keyOf("x")
	first, err := s.Begin(within(t), key, "is slow", nil)
	g.Expect(err).NotTo(HaveOccurred())
	defer first.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	_, err = s.Begin(ctx, key, "", nil)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(ContainSubstring("is slow")))
}

func TestAnEntryInUseIsNeverRemoved(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, func(c *Config) { c.MaxBytes = 1 }), keyOf("x")
	e := fill(t, s, key, "memory")
	_, err := s.Evict(within(t))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Path("a.memory")).To(BeAnExistingFile())
	g.Expect(s.Remove(within(t), key)).To(MatchError("remove snapshot " + Short(key) + ": a running lab uses it"))
	g.Expect(s.Discard(within(t), key)).To(Succeed())
	g.Expect(e.Path("a.memory")).To(BeAnExistingFile(), "forgotten, but not gone")
	_, err = s.GC(within(t), ModeRemove)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Path("a.memory")).To(BeAnExistingFile())
	again := fill(t, s, key, "other")
	g.Expect(e.Path("a.memory")).To(BeAnExistingFile(), "a new entry of the key leaves the old one to who uses it")
	g.Expect(again.Close()).To(Succeed())
	g.Expect(e.Close()).To(Succeed())
	removed, err := s.GC(within(t), ModeRemove)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(removed).To(HaveLen(2))
	g.Expect(os.ReadDir(s.path(entriesDir))).To(BeEmpty())
}

func TestTheLeastRecentlyUsedGoFirst(t *testing.T) {
	g := NewWithT(t)
	s := open(t, nil)
	for _, name := range []string{"x", "y", "z"} {
		g.Expect(fill(t, s, keyOf(name), "memory of "+name).Close()).To(Succeed())
	}
	e, err := s.Get(within(t), keyOf("x"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Close()).To(Succeed())
	all, err := s.List()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]string{all[0].Key, all[1].Key, all[2].Key}).To(Equal([]string{keyOf("x"), keyOf("z"), keyOf("y")}))
	g.Expect(all[0].Topology).To(Equal("lab"))
	g.Expect(all[0].Nodes).To(Equal([]string{"a"}))
	g.Expect(all[0].InUse).To(BeFalse())
	s.cfg.MaxBytes = all[0].Bytes + all[1].Bytes
	removed, err := s.Evict(within(t))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(removed).To(HaveLen(1))
	g.Expect(removed[0].What).To(Equal("snapshot " + Short(keyOf("y")) + " of lab"))
	_, err = s.Get(within(t), keyOf("y"))
	g.Expect(err).To(MatchError(ErrAbsent))
}

func TestGCRemovesWhatKilledBuildersLeft(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, nil), keyOf("x")
	alive, err := s.Begin(within(t), keyOf("y"), "", nil)
	g.Expect(err).NotTo(HaveOccurred())
	defer alive.Close()
	d, err := s.Begin(within(t), key, "", nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(d.Path("a.memory"), make([]byte, 9000), 0o600)).To(Succeed())
	dead := d.dir // its process dies: the kernel frees the locks
	g.Expect(d.alive.Close()).To(Succeed())
	g.Expect(d.fill.Close()).To(Succeed())
	found, err := s.GC(within(t), ModeDryRun)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(HaveLen(1))
	g.Expect(found[0].Path).To(Equal(dead))
	g.Expect(found[0].Bytes).To(BeNumerically(">=", 9000))
	g.Expect(dead).To(BeADirectory())
	next, err := s.Begin(within(t), key, "", nil)
	g.Expect(err).NotTo(HaveOccurred(), "the key is free")
	g.Expect(dead).NotTo(BeADirectory(), "and the next draft sweeps")
	g.Expect(alive.dir).To(BeADirectory())
	g.Expect(next.Close()).To(Succeed())
}

func TestHolesAreZerosThatTakeNoRoom(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, nil), keyOf("x")
	d, err := s.Begin(within(t), key, "", nil)
	g.Expect(err).NotTo(HaveOccurred())
	const size = 3 * chunk / 2
	content := make([]byte, size)
	copy(content[chunk:], bytes.Repeat([]byte("memory"), 1000))
	g.Expect(os.WriteFile(d.Path("dense"), content, 0o600)).To(Succeed())
	sparse, err := os.Create(d.Path("sparse"))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = sparse.WriteAt(content[chunk:chunk+6000], chunk)
	g.Expect(errors.Join(err, sparse.Truncate(size), sparse.Close())).To(Succeed())
	d.Mapped("sparse")
	e, err := d.Commit(within(t), &Manifest{})
	g.Expect(err).NotTo(HaveOccurred())
	defer e.Close()
	g.Expect(d.Close()).To(Succeed())
	files := e.Manifest.Files
	g.Expect(files["dense"].Data).To(BeEquivalentTo(size))
	g.Expect(files["sparse"].Data).To(And(BeNumerically(">=", 6000), BeNumerically("<", size/2)))
	g.Expect(e.Manifest.Bytes()).To(Equal(files["dense"].Data + files["sparse"].Data))
	same := files["dense"]
	same.Data = files["sparse"].Data
	g.Expect(files["sparse"]).To(Equal(same), "wherever the holes are, the content is the same")
	for name, mode := range map[string]os.FileMode{"dense": 0o400, "sparse": 0o600} {
		info, err := os.Stat(e.Path(name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Mode().Perm()).To(Equal(mode), name)
	}
	g.Expect(s.Verify(within(t), key)).To(Succeed())
	change(g, e.Path("sparse"), string(content[:size-1])+"x")
	g.Expect(s.Verify(within(t), key)).To(MatchError(ContainSubstring("the content of sparse has changed")))
}

func TestHolesThatACopyHasFilledAreDugAgain(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, nil), keyOf("x")
	d, err := s.Begin(within(t), key, "", nil)
	g.Expect(err).NotTo(HaveOccurred())
	const size = 3*filled + 1000
	content := make([]byte, size)
	for _, at := range []int{0, filled - 10, 2 * filled, size - 1} {
		content[at] = 'x'
	}
	file, err := os.Create(d.Path("a.memory"))
	g.Expect(errors.Join(err, file.Truncate(size))).To(Succeed())
	for at := 0; at < size; at += block {
		if part := content[at:min(at+block, size)]; bytes.ContainsRune(part, 'x') {
			_, err = file.WriteAt(part, int64(at))
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	g.Expect(file.Close()).To(Succeed())
	d.Mapped("a.memory")
	e, err := d.Commit(within(t), &Manifest{})
	g.Expect(err).NotTo(HaveOccurred())
	defer e.Close()
	g.Expect(d.Close()).To(Succeed())
	before := usage(e.dir)
	g.Expect(before).To(BeNumerically("<", 1<<20))

	change(g, e.Path("a.memory"), string(content))
	g.Expect(usage(e.dir)).To(BeNumerically(">", size), "a copy has all of it")
	g.Expect(e.Check(within(t))).To(Succeed())
	g.Expect(usage(e.dir)).To(BeNumerically("<=", before+2*block))
	after, err := os.ReadFile(e.Path("a.memory"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Equal(after, content)).To(BeTrue())
	g.Expect(s.Verify(within(t), key)).To(Succeed())
}

func TestVerifyReadsEverything(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, nil), keyOf("x")
	e := fill(t, s, key, "memory")
	defer e.Close()
	file := e.Manifest.Files["a.memory"]
	file.SHA256 = "0000"
	e.Manifest.Files["a.memory"] = file
	g.Expect(e.check(within(t), quick)).To(Succeed())
	g.Expect(e.check(within(t), thorough)).To(MatchError("the content of a.memory has changed since it was saved"))
	g.Expect(s.Verify(within(t), keyOf("z"))).To(MatchError(ErrAbsent))
}

func TestFindByTheBeginningOfAKey(t *testing.T) {
	g := NewWithT(t)
	s, key := open(t, nil), keyOf("x")
	g.Expect(fill(t, s, key, "memory").Close()).To(Succeed())
	g.Expect(s.Find(key[:6])).To(Equal(key))
	_, err := s.Find("zzz")
	g.Expect(err).To(MatchError(`"zzz": there is no such snapshot`))
	_, err = s.Find("")
	g.Expect(err).To(MatchError(ErrAbsent))
}

func TestBadArguments(t *testing.T) {
	g := NewWithT(t)
	_, err := Open(Config{Dir: "relative"})
	g.Expect(err).To(MatchError(`open snapshot store "relative": give an absolute path`))
	s := open(t, nil)
	_, err = s.Get(within(t), "../../etc")
	g.Expect(err).To(MatchError(`"../../etc" is no key of a snapshot`))
	_, err = s.Begin(within(t), "x", "", nil)
	g.Expect(err).To(MatchError(`"x" is no key of a snapshot`))
	d, err := s.Begin(within(t), keyOf("x"), "", nil)
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	g.Expect(d.Take("/nonexistent", "a")).To(MatchError(ContainSubstring("take /nonexistent into snapshot " + Short(keyOf("x")))))
}

func TestARefusalCountsForAWhile(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	s, key := open(t, func(c *Config) { c.Now = func() time.Time { return now } }), keyOf("x")
	g.Expect(s.Refuse(key, "QEMU cannot save this device")).To(Succeed())
	_, err := s.Get(within(t), key)
	var refused *RefusedError
	g.Expect(errors.As(err, &refused)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError("QEMU cannot save this device (that was found out before)"))
	_, err = s.GC(within(t), ModeRemove)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = s.Get(within(t), key)
	g.Expect(errors.As(err, &refused)).To(BeTrue(), "it still counts")
	g.Expect(s.List()).To(BeEmpty())
	g.Expect(fill(t, s, key, "memory").Close()).To(Succeed())
	g.Expect(get(t, s, key)).To(Succeed(), "it can be done after all")
	g.Expect(s.Remove(within(t), key)).To(Succeed())
	g.Expect(get(t, s, key)).To(MatchError(ErrAbsent))

	g.Expect(s.Refuse(key, "no")).To(Succeed())
	now = now.Add(61 * time.Minute)
	g.Expect(get(t, s, key)).To(MatchError(ErrAbsent))
	_, err = s.GC(within(t), ModeRemove)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadDir(s.path(refsDir))).To(BeEmpty())
}

func TestWhatLiesInTheCacheIsSeenFromTheEntry(t *testing.T) {
	g := NewWithT(t)
	s := open(t, nil)
	cache := filepath.Dir(s.cfg.Dir)
	outside := filepath.Join(t.TempDir(), "disk")
	g.Expect(os.Mkdir(filepath.Join(cache, "images"), 0o755)).To(Succeed())
	inside := filepath.Join(cache, "images", "disk")
	for _, path := range []string{inside, outside} {
		g.Expect(os.WriteFile(path, nil, 0o600)).To(Succeed())
	}
	draft := func(s *Store) *Draft {
		d, err := s.Begin(within(t), keyOf("x"), "fills it", nil)
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	d := draft(s)
	relative, ok := d.FromEntry(inside)
	g.Expect(ok).To(BeTrue())
	g.Expect(relative).To(Equal("../../../images/disk"))
	_, ok = d.FromEntry(outside)
	g.Expect(ok).To(BeFalse())
	g.Expect(d.Close()).To(Succeed())

	// Somebody has put the snapshots on another disk.
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	g.Expect(os.Rename(s.cfg.Dir, elsewhere)).To(Succeed())
	g.Expect(os.Symlink(elsewhere, s.cfg.Dir)).To(Succeed())
	_, ok = draft(s).FromEntry(inside)
	g.Expect(ok).To(BeFalse(), "\"..\" leads out of the cache from there")
}
