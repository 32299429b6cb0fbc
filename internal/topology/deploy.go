package topology

import (
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Deploy is a file or folder of the host that goes into a node.
type Deploy struct {
	// Src is an absolute path on the host. While it still names an unset variable, CheckSources returns a problem.
	Src string
	// Dest is an absolute path in the guest: the target itself, not the folder it goes into.
	Dest string
	// Mode is that of the file, or of the top folder of a tree, whose entries keep theirs. It is 0755 by default.
	Mode fs.FileMode
	// Owner is user or user:group, by default root.
	Owner string

	at mark
	// written is the source as the file has it.
	written string
	// unset lists variables that the source names and the environment does not have.
	unset []string
}

const defaultDeployMode fs.FileMode = 0o755

// rawDeploy is an entry of deploy as the file has it.
type rawDeploy struct {
	at         mark
	src, dest  field[string]
	mode       field[fs.FileMode]
	owner      field[string]
	srcPattern variablePattern
}

var deployKeys = keySet{
	what:  "a deploy entry",
	known: []string{"src", "dest", "mode", "owner"},
	refused: map[string]string{
		"source": "write src", "from": "write src", "dst": "write dest", "to": "write dest", "target": "write dest",
		"permissions": "write mode", "user": "write owner",
	},
}

func parseDeploys(r *report, v value) []rawDeploy {
	var deploys []rawDeploy
	for _, entry := range r.list(v, "write entries such as - {src: ./bin/tool, dest: /usr/local/bin/tool}").value {
		m := r.mapping(entry, deployKeys)
		d := rawDeploy{
			at:    entry.at,
			src:   r.str(m.need(r, "src", "src: ./bin/tool")),
			dest:  convert(r, r.str(m.need(r, "dest", "dest: /usr/local/bin/tool")), guestPath),
			mode:  parseMode(r, m.get("mode")),
			owner: convert(r, r.text(m.get("owner")), parseOwner),
		}
		d.srcPattern = convert(r, d.src, parseVariables).value
		deploys = append(deploys, d)
	}
	return deploys
}

// parseMode reads the digits as octal, with quotes or without: 0755, "0755", 755 and 0o755 are the same.
func parseMode(r *report, v value) field[fs.FileMode] {
	digits := r.scalar(v, `write octal digits such as "0755"`, "!!str", "!!int")
	return convert(r, digits, func(text string) (fs.FileMode, *complaint) {
		mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
		if err != nil || mode > 0o7777 {
			return 0, &complaint{quote(text) + " is not a file mode", `write octal digits such as "0755"`}
		}
		return fileMode(mode), nil
	})
}

// fileMode translates the twelve bits of chmod(2) into Go's.
func fileMode(bits uint64) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

var ownerPattern = regexp.MustCompile(`^([a-z_][a-z0-9_-]{0,31}|[0-9]{1,10})(:([a-z_][a-z0-9_-]{0,31}|[0-9]{1,10}))?$`)

func parseOwner(text string) (string, *complaint) {
	if !ownerPattern.MatchString(text) {
		return "", &complaint{quote(text) + " is not an owner", "write user or user:group, such as root or lab:lab"}
	}
	return text, nil
}

// guestPath checks the path of a file in the guest.
func guestPath(text string) (string, *complaint) {
	const right = "write the whole path of the target, such as /usr/local/bin/tool"
	switch {
	case !path.IsAbs(text):
		return "", &complaint{quote(text) + " is not an absolute path", right}
	case strings.HasSuffix(text, "/"):
		return "", &complaint{quote(text) + " ends with / and so names no file", right}
	case strings.ContainsAny(text, "\x00\n\r"):
		return "", &complaint{quote(text) + " has a line break in it", right}
	}
	return path.Clean(text), nil
}

// validateDeploys looks for what one entry of a node does to another.
func validateDeploys(r *report, deploys []rawDeploy) {
	earlier := map[string]int{}
	for i := range deploys {
		d := &deploys[i]
		check(r, &d.src, func(src string) *complaint {
			if strings.HasPrefix(src, "~") {
				return &complaint{quote(src) + " begins with ~, which stands for nothing here", "write ${HOME} instead"}
			}
			return nil
		})
		if !d.dest.usable() {
			continue
		}
		if line, repeated := earlier[d.dest.value]; repeated {
			r.addf(d.dest.at, "remove one of the two", "%s is already the target of line %d", quote(d.dest.value), line)
		}
		earlier[d.dest.value] = d.dest.at.line
	}
}

func planDeploys(raw []rawDeploy, folder sourceFolder) []Deploy {
	var deploys []Deploy
	for _, d := range raw {
		src, unset := d.srcPattern.expand(folder.lookup)
		if !filepath.IsAbs(src) && len(unset) == 0 {
			src = filepath.Join(folder.dir, src)
		}
		deploys = append(deploys, Deploy{
			Src: src, Dest: d.dest.value, Mode: d.mode.value, Owner: d.owner.value,
			at: d.src.at, written: d.src.value, unset: unset,
		})
	}
	return deploys
}
