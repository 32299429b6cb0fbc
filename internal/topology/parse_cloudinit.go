package topology

import (
	"io/fs"
	"slices"
	"strings"
)

// rawCloudInit is a cloud_init section as the file has it.
type rawCloudInit struct {
	user, password, userData field[string]
	keys, packages           []field[string]
	runCmd                   []field[Command]
	writeFiles               []rawFile
}

// rawFile is an entry of write_files.
type rawFile struct {
	path, content, permissions, owner, encoding field[string]
	append                                      field[bool]
}

var cloudInitKeys = keySet{
	what:  "cloud_init",
	known: []string{"user", "password", "ssh_authorized_keys", "packages", "runcmd", "write_files", "user_data"},
	refused: map[string]string{
		"users":           "write user for the login user, and user_data for further ones",
		"hostname":        "remove it: the node's name is the host name",
		"network_config":  "remove it: addresses come from networks",
		"network":         "remove it: addresses come from networks",
		"bootcmd":         "write it in user_data",
		"package_update":  "write it in user_data",
		"package_upgrade": "write it in user_data",
		"apt":             "write it in user_data",
		"ssh_keys":        "remove it: the lab makes host keys and knows them",
		"ssh_key":         "write ssh_authorized_keys: [...]",
		"chpasswd":        "write password",
		"commands":        "write runcmd",
	},
}

var fileKeys = keySet{
	what:  "a file of write_files",
	known: []string{"path", "content", "permissions", "owner", "encoding", "append"},
	refused: map[string]string{
		"mode": "write permissions", "dest": "write path", "defer": "write the file in user_data",
	},
}

func parseCloudInit(r *report, v value) rawCloudInit {
	m := r.mapping(v, cloudInitKeys)
	raw := rawCloudInit{
		user:     r.str(m.get("user")),
		password: r.text(m.get("password")),
		keys:     r.texts(m.get("ssh_authorized_keys"), "write ssh_authorized_keys: [\"ssh-ed25519 AAAA...\"]"),
		packages: r.texts(m.get("packages"), "write packages: [curl, git]"),
		userData: r.str(m.get("user_data")),
	}
	for _, entry := range r.list(m.get("runcmd"), "write runcmd: [\"systemctl start ssh\"]").value {
		raw.runCmd = append(raw.runCmd, parseCommand(r, entry))
	}
	for _, entry := range r.list(m.get("write_files"), "write write_files: [{path: /etc/x, content: ...}]").value {
		raw.writeFiles = append(raw.writeFiles, parseFile(r, entry))
	}
	return raw
}

// parseCommand reads a text, which is for the shell, or a list, which is an argv.
func parseCommand(r *report, v value) field[Command] {
	if v.node == nil || v.bad || isScalar(v.node) {
		return convert(r, r.text(v), func(line string) (Command, *complaint) { return Command{Shell: line}, nil })
	}
	words := r.list(v, `write a line for the shell, or a list of words such as [systemctl, start, ssh]`)
	command := field[Command]{at: v.at, given: words.given, bad: words.bad}
	for _, word := range words.value {
		argument := r.text(word)
		command.bad = command.bad || argument.bad
		command.value.Argv = append(command.value.Argv, argument.value)
	}
	return command
}

func parseFile(r *report, v value) rawFile {
	m := r.mapping(v, fileKeys)
	return rawFile{
		path:        convert(r, r.str(m.need(r, "path", "path: /etc/motd")), guestPath),
		content:     r.text(m.get("content")),
		permissions: parsePermissions(r, m.get("permissions")),
		owner:       convert(r, r.text(m.get("owner")), parseOwner),
		encoding:    convert(r, r.str(m.get("encoding")), parseEncoding),
		append:      r.boolean(m.get("append")),
	}
}

// parsePermissions checks octal digits and keeps them as text, which is what cloud-init wants.
func parsePermissions(r *report, v value) field[string] {
	mode := parseMode(r, v)
	return convert(r, mode, func(fs.FileMode) (string, *complaint) {
		return "0" + strings.TrimLeft(strings.TrimPrefix(v.node.Value, "0o"), "0"), nil
	})
}

// parseEncoding takes the names of cloud-init's write_files module that text can carry.
func parseEncoding(text string) (string, *complaint) {
	known := []string{"text/plain", "b64", "base64", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"}
	if !slices.Contains(known, text) {
		return "", &complaint{quote(text) + " is not an encoding", didYouMean(text, known)}
	}
	return text, nil
}
