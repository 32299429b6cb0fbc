package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"ionlab/internal/lock"
)

// home is the place of one lab on the host: a run folder and a state folder of the same name, held by a lock that
// the kernel frees when the owner dies. Who finds the lock free may remove both (see GC).
type home struct {
	id    string
	run   string
	state string
	lock  *lock.Lock
}

// makeHome creates a home. The lock over the run folder keeps GC from seeing it between its creation and its own lock.
func makeHome(ctx context.Context, dirs Dirs) (*home, error) {
	if err := dirs.create(); err != nil {
		return nil, err
	}
	unlock, err := lockDirs(ctx, dirs)
	if err != nil {
		return nil, err
	}
	defer unlock()
	id, err := newID(dirs)
	if err != nil {
		return nil, err
	}
	h := &home{id: id, run: filepath.Join(dirs.Run, id), state: filepath.Join(dirs.State, id)}
	if err := os.Mkdir(h.run, 0o711); err != nil {
		return nil, fmt.Errorf("make the lab's run folder: %w", err)
	}
	// Whoever lists the labs just now tries the lock for a moment, to see whether an owner holds it.
	if h.lock, err = lock.Wait(ctx, filepath.Join(h.run, lockName), lock.Exclusive, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the lab's run folder: %w", err), h.Close())
	}
	if err := os.Mkdir(h.state, 0o711); err != nil {
		return nil, errors.Join(fmt.Errorf("make the lab's state folder: %w", err), h.Close())
	}
	return h, nil
}

// newID draws a short name that no lab has.
func newID(dirs Dirs) (string, error) {
	for range 100 {
		var b [3]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", fmt.Errorf("draw a lab id: %w", err)
		}
		id := hex.EncodeToString(b[:])
		_, errRun := os.Lstat(filepath.Join(dirs.Run, id))
		_, errState := os.Lstat(filepath.Join(dirs.State, id))
		if errors.Is(errRun, os.ErrNotExist) && errors.Is(errState, os.ErrNotExist) {
			return id, nil
		}
	}
	return "", errors.New("draw a lab id: 100 in a row were taken; run `labtest gc`")
}

// dirsLock is the file in the run folder with the lock of lockDirs.
const dirsLock = ".lock"

// lockDirs takes the lock under which homes are made and removed.
func lockDirs(ctx context.Context, dirs Dirs) (func(), error) {
	held, err := lock.Wait(ctx, filepath.Join(dirs.Run, dirsLock), lock.Exclusive, nil)
	if err != nil {
		return nil, fmt.Errorf("another labtest makes or removes labs: %w", err)
	}
	return func() { _ = held.Close() }, nil
}

// Close removes the lab's folders and frees its name.
func (h *home) Close() error {
	if h == nil {
		return nil
	}
	if err := errors.Join(os.RemoveAll(h.state), os.RemoveAll(h.run), h.lock.Close()); err != nil {
		return fmt.Errorf("remove the lab's folders: %w (`labtest gc` tries again)", err)
	}
	return nil
}

func ownedByUs(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
