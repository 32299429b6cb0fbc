package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ionlab/internal/fabric"
)

// Partition cuts groups of nodes off from each other, both ways, on all networks and across routers: two of the named
// reach each other only if they stand in one group together. Who is not named reaches everybody, unless there is only
// one group: that is cut off from all other nodes. Cuts add up until Heal.
func (l *Lab) Partition(groups [][]string, undo *Undo) error {
	if len(groups) == 0 {
		return errors.New("partition: name at least one group of nodes")
	}
	if len(groups) == 1 {
		groups = append(groups, l.othersThan(groups[0]))
	}
	if err := l.checkGroups(groups); err != nil {
		return err
	}
	var cuts [][2]string
	for i, group := range groups {
		for _, from := range group {
			for _, to := range slices.Concat(slices.Concat(groups[:i]...), slices.Concat(groups[i+1:]...)) {
				if from != to && !together(groups, from, to) {
					cuts = append(cuts, [2]string{from, to})
				}
			}
		}
	}
	return l.cut(cuts, undo)
}

// PartitionOneWay keeps what nodes in from send away from those in to; the other way stays open.
func (l *Lab) PartitionOneWay(from, to []string, undo *Undo) error {
	if err := l.checkGroups([][]string{from, to}); err != nil {
		return err
	}
	var cuts [][2]string
	for _, a := range from {
		for _, b := range to {
			if a == b {
				return fmt.Errorf("partition: node %q stands on both sides", a)
			}
			cuts = append(cuts, [2]string{a, b})
		}
	}
	return l.cut(cuts, undo)
}

// Heal ends all partitions.
func (l *Lab) Heal(undo *Undo) error {
	fab, err := l.wired()
	if err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	l.netMu.Lock()
	defer l.netMu.Unlock()
	for _, pair := range fab.Blocked() {
		if err := l.setCut(fab, pair, false, undo); err != nil {
			return fmt.Errorf("heal: %w", err)
		}
	}
	return nil
}

// Cuts are the pairs of names of which the first cannot reach the second.
func (l *Lab) Cuts() ([][2]string, error) {
	fab, err := l.wired()
	if err != nil {
		return nil, err
	}
	return fab.Blocked(), nil
}

func (l *Lab) cut(pairs [][2]string, undo *Undo) error {
	fab, err := l.wired()
	if err != nil {
		return fmt.Errorf("partition: %w", err)
	}
	l.netMu.Lock()
	defer l.netMu.Unlock()
	for _, pair := range pairs {
		if err := l.setCut(fab, pair, true, undo); err != nil {
			return fmt.Errorf("partition: %w", err)
		}
	}
	return nil
}

// setCut is for one pair; netMu is held.
func (l *Lab) setCut(fab *fabric.Fabric, pair [2]string, cut bool, undo *Undo) error {
	was := slices.Contains(fab.Blocked(), pair)
	undo.remember(undoKey{"cut", pair[0], pair[1]}, func() error {
		l.netMu.Lock()
		defer l.netMu.Unlock()
		if l.isClosed() {
			return ErrClosed
		}
		return setBlocked(fab, pair, was)
	})
	return setBlocked(fab, pair, cut)
}

func setBlocked(fab *fabric.Fabric, pair [2]string, blocked bool) error {
	if blocked {
		return fab.Block(pair[0], pair[1])
	}
	return fab.Unblock(pair[0], pair[1])
}

// together tells whether a group has both.
func together(groups [][]string, a, b string) bool {
	return slices.ContainsFunc(groups, func(g []string) bool { return slices.Contains(g, a) && slices.Contains(g, b) })
}

func (l *Lab) othersThan(group []string) []string {
	var others []string
	for _, node := range l.nodes {
		if !slices.Contains(group, node.Name()) {
			others = append(others, node.Name())
		}
	}
	return others
}

// checkGroups refuses empty groups and names that nobody has; all of them at once.
func (l *Lab) checkGroups(groups [][]string) error {
	known := l.owners()
	var errs []error
	for i, group := range groups {
		if len(group) == 0 {
			errs = append(errs, fmt.Errorf("partition: group %d is empty: there is nobody to cut off", i+1))
		}
		for _, name := range group {
			if !slices.Contains(known, name) {
				errs = append(errs, fmt.Errorf("partition: lab %q has no node or router %q; it has %s",
					l.topo.Metadata.Name, name, strings.Join(known, ", ")))
			}
		}
	}
	return errors.Join(errs...)
}

// owners are the names of all nodes and routers.
func (l *Lab) owners() []string {
	var names []string
	for _, node := range l.nodes {
		names = append(names, node.Name())
	}
	for _, router := range l.routers {
		names = append(names, router.Name())
	}
	return names
}
