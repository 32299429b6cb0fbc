package topology

import (
	"encoding/base64"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
)

// userName follows useradd(8): what Debian takes without --badname.
var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// systemUsers are accounts that base-passwd and the packages of our images create without a login shell.
var systemUsers = []string{
	"_apt", "backup", "bin", "daemon", "games", "irc", "list", "lp", "mail", "man", "messagebus", "news", "nobody", "proxy",
	"sshd", "sync", "sys", "systemd-network", "systemd-resolve", "systemd-timesync", "uucp", "www-data",
}

func validateCloudInit(r *report, c *rawCloudInit) {
	check(r, &c.user, isUser)
	check(r, &c.password, func(password string) *complaint {
		if password == "" || strings.ContainsAny(password, "\x00\n\r") {
			return &complaint{"the password is empty or has a line break in it", "write one line, or remove it: ionlab logs in by key"}
		}
		return nil
	})
	for i := range c.keys {
		check(r, &c.keys[i], isAuthorizedKey)
	}
	for i := range c.runCmd {
		check(r, &c.runCmd[i], isCommand)
	}
	for i := range c.writeFiles {
		validateFile(r, &c.writeFiles[i])
	}
	check(r, &c.userData, isUserData)
}

func isUser(name string) *complaint {
	switch {
	case name == "root":
		return &complaint{
			"root cannot be the login user: ionlab logs in as an ordinary user and uses sudo where root is needed",
			"choose another name, or remove user for " + DefaultUser,
		}
	case slices.Contains(systemUsers, name):
		return &complaint{quote(name) + " is a system user, and nobody can log in as it", "choose another name, or remove user for " + DefaultUser}
	case !userName.MatchString(name):
		return &complaint{
			quote(name) + " is not a Linux user name",
			"use up to 32 lower-case letters, digits, _ and -, not beginning with a digit or -",
		}
	}
	return nil
}

func isAuthorizedKey(line string) *complaint {
	const right = "write one line of an authorized_keys file, such as ssh-ed25519 AAAA..."
	if strings.ContainsAny(strings.TrimSpace(line), "\x00\n\r") {
		return &complaint{"the key has more than one line", right}
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err != nil {
		return &complaint{quote(line) + " is not a public key", right}
	}
	return nil
}

func isCommand(command Command) *complaint {
	if strings.TrimSpace(command.Shell) == "" && len(command.Argv) == 0 {
		return &complaint{"the command is empty", "write a line for the shell, or a list of words"}
	}
	for _, word := range slices.Concat(command.Argv, []string{command.Shell}) {
		if strings.ContainsRune(word, 0) {
			return &complaint{"the command has a NUL in it", "no program can be given one; remove it"}
		}
	}
	return nil
}

func validateFile(r *report, f *rawFile) {
	if !strings.HasSuffix(f.encoding.value, "64") {
		return
	}
	check(r, &f.content, func(content string) *complaint {
		if _, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(content), "")); err != nil {
			return &complaint{"the content is not base64: " + err.Error(), "encode it with base64, or remove encoding"}
		}
		return nil
	})
}

// userDataHeaders are the first lines by which cloud-init tells parts of user data apart.
var userDataHeaders = []string{
	"#cloud-config", "#!", "#include", "#cloud-boothook", "#part-handler", "## template:", "Content-Type:", "MIME-Version:",
}

// isUserData refuses what cloud-init would skip without a word.
func isUserData(text string) *complaint {
	first, _, _ := strings.Cut(text, "\n")
	for _, header := range userDataHeaders {
		if !strings.HasPrefix(first, header) {
			continue
		}
		if strings.TrimSpace(first) == userDataHeaders[0] {
			return isCloudConfig(text)
		}
		return nil
	}
	return &complaint{
		"cloud-init would ignore user data that begins with " + quote(first),
		"begin with a line such as #cloud-config or #!/bin/sh",
	}
}

func isCloudConfig(text string) *complaint {
	config, err := decodeNode(yaml.NewDecoder(strings.NewReader(text)))
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return &complaint{"the cloud-config is not valid YAML: " + quote(syntaxMessage(err)), "correct its indentation, quotes or brackets"}
	case len(config.Content) > 0 && config.Content[0].Kind != yaml.MappingNode:
		return &complaint{"the cloud-config is " + describe(config.Content[0]) + ", not a mapping", "write keys such as timezone: UTC"}
	}
	return nil
}

func planCloudInit(raw *rawCloudInit) CloudInit {
	c := CloudInit{
		User: raw.user.value, Password: raw.password.value, SSHAuthorizedKeys: values(raw.keys),
		Packages: values(raw.packages), RunCmd: values(raw.runCmd), UserData: raw.userData.value,
	}
	for _, f := range raw.writeFiles {
		c.WriteFiles = append(c.WriteFiles, File{
			Path: f.path.value, Content: f.content.value, Permissions: f.permissions.value,
			Owner: f.owner.value, Encoding: f.encoding.value, Append: f.append.value,
		})
	}
	return c
}
