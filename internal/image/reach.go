package image

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// checkReach fails if the Owner cannot get to the store's folder: files that anybody may read help nobody behind a closed folder.
func (s *Store) checkReach() error {
	if s.cfg.Owner == nil || s.cfg.Owner.UID == 0 {
		return nil
	}
	for dir := s.cfg.Dir; ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("open image store: %w", err)
		}
		if !mayEnter(st, *s.cfg.Owner) {
			return fmt.Errorf("open image store %s: user %d cannot enter %s (mode %04o): choose another folder, or chmod o+x %s",
				s.cfg.Dir, s.cfg.Owner.UID, dir, st.Mode().Perm(), dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func mayEnter(st os.FileInfo, who Owner) bool {
	perm := st.Mode().Perm()
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case int(sys.Uid) == who.UID:
		return perm&0o100 != 0
	case int(sys.Gid) == who.GID:
		return perm&0o010 != 0
	default:
		return perm&0o001 != 0
	}
}
