package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/crypto/ssh"

	"ionlab/internal/guest"
)

// visitorNote is what another process of the same user has to know of a node to run commands as this one does.
type visitorNote struct {
	User string            `json:"user"`
	Env  map[string]string `json:"env"`
}

func (n *Node) writeVisitorNote() error {
	data, err := json.Marshal(visitorNote{User: n.spec.CloudInit.User, Env: n.spec.Env})
	if err != nil {
		return fmt.Errorf("write the note on node %q: %w", n.Name(), err)
	}
	if err := os.WriteFile(n.files.note, data, 0o600); err != nil {
		return fmt.Errorf("write the note on node %q: %w", n.Name(), err)
	}
	return nil
}

// Found is a lab of a living owner on this host, seen from another process.
type Found struct {
	ID         string
	Hypervisor string // folder of its private hypervisor
	SSHConfig  string
	run        string
}

// Find lists the labs whose owners live.
func Find(dirs Dirs) ([]Found, error) {
	entries, err := os.ReadDir(dirs.Run)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var found []Found
	for _, entry := range entries {
		run := filepath.Join(dirs.Run, entry.Name())
		if entry.IsDir() && isID(entry.Name()) && alive(run) {
			found = append(found, Found{
				ID: entry.Name(), Hypervisor: filepath.Join(run, "v"), SSHConfig: filepath.Join(run, "ssh_config"), run: run,
			})
		}
	}
	return found, nil
}

// FindOne finds a living lab by its id. The error lists the ids there are.
func FindOne(dirs Dirs, id string) (Found, error) {
	all, err := Find(dirs)
	if err != nil {
		return Found{}, err
	}
	var known []string
	for _, found := range all {
		if found.ID == id {
			return found, nil
		}
		known = append(known, found.ID)
	}
	return Found{}, fmt.Errorf("no lab %q runs on this host; running: [%s] (`labtest list`)", id, strings.Join(known, " "))
}

// Nodes are the names of the lab's nodes.
func (f Found) Nodes() ([]string, error) {
	doors, err := filepath.Glob(filepath.Join(f.run, "d", "*.ssh"))
	if err != nil {
		return nil, fmt.Errorf("list nodes of lab %s: %w", f.ID, err)
	}
	names := make([]string, 0, len(doors))
	for _, door := range doors {
		names = append(names, strings.TrimSuffix(filepath.Base(door), ".ssh"))
	}
	sort.Strings(names)
	return names, nil
}

// Console is the socket of a node's serial console. One client at a time is served.
func (f Found) Console(node string) (string, error) {
	if err := f.check(node); err != nil {
		return "", err
	}
	return filepath.Join(f.run, "s", node+".console"), nil
}

// Guest returns a way into a node of the lab, through its owner. Close it.
func (f Found) Guest(node string) (*guest.Client, error) {
	if err := f.check(node); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(filepath.Join(f.run, "key"))
	if err != nil {
		return nil, fmt.Errorf("read the key of lab %s: %w (is it yours?)", f.ID, err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("read the key of lab %s: %w", f.ID, err)
	}
	hostKey, err := f.hostKey(node)
	if err != nil {
		return nil, err
	}
	door := filepath.Join(f.run, "d", node+".ssh")
	note, err := f.note(node)
	if err != nil {
		return nil, err
	}
	return guest.New(guest.Config{
		Name: node, User: "root", LoginUser: note.User, Env: note.Env, Signer: signer, HostKey: hostKey,
		Dial: func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", door) },
	}), nil
}

// note is empty while the owner has not written it: the door is there first.
func (f Found) note(node string) (note visitorNote, err error) {
	data, err := os.ReadFile(filepath.Join(f.run, "d", node+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return note, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &note)
	}
	if err != nil {
		return note, fmt.Errorf("read the note on node %q: %w", node, err)
	}
	return note, nil
}

func (f Found) check(node string) error {
	names, err := f.Nodes()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == node {
			return nil
		}
	}
	return fmt.Errorf("lab %s has no node %q; it has %q", f.ID, node, names)
}

func (f Found) hostKey(node string) (ssh.PublicKey, error) {
	data, err := os.ReadFile(filepath.Join(f.run, "known_hosts"))
	if err != nil {
		return nil, fmt.Errorf("read the host keys of lab %s: %w", f.ID, err)
	}
	for line := range strings.Lines(string(data)) {
		name, key, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != node {
			continue
		}
		public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
		if err != nil {
			return nil, fmt.Errorf("read the host key of node %q: %w", node, err)
		}
		return public, nil
	}
	return nil, fmt.Errorf("lab %s has no host key of node %q yet", f.ID, node)
}
