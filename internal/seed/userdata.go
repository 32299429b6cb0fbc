package seed

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

const cloudConfigHeader = "#cloud-config\n"

// essentials are the keys that decide whether the machine can be reached and found. An author's cloud-config must not
// change them, so as a part of a multi-part document they replace what earlier parts say.
type essentials struct {
	PreserveHostname bool              `yaml:"preserve_hostname"`
	Hostname         string            `yaml:"hostname"`
	FQDN             string            `yaml:"fqdn,omitempty"`
	ManageHosts      string            `yaml:"manage_etc_hosts"`
	DisableRoot      bool              `yaml:"disable_root"`
	RootKeys         []string          `yaml:"ssh_authorized_keys,omitempty"`
	PasswordLogin    bool              `yaml:"ssh_pwauth,omitempty"`
	DeleteHostKeys   bool              `yaml:"ssh_deletekeys"`
	HostKeys         map[string]string `yaml:"ssh_keys"`
	QuietKeys        quietKeys         `yaml:"ssh"`
	NoFingerprints   bool              `yaml:"no_ssh_fingerprints"`
	UpdatePackages   bool              `yaml:"package_update,omitempty"`
	Apt              *apt              `yaml:"apt,omitempty"`
	FinalMessage     string            `yaml:"final_message"`
}

type quietKeys struct {
	ToConsole bool `yaml:"emit_keys_to_console"`
}

type apt struct {
	Conf string `yaml:"conf"`
}

// additions are the keys to which an author's cloud-config may add.
type additions struct {
	Users      []user      `yaml:"users"`
	Packages   []text      `yaml:"packages,omitempty"`
	WriteFiles []writeFile `yaml:"write_files,omitempty"`
	RunCmd     []any       `yaml:"runcmd,omitempty"`
}

type user struct {
	Name     string   `yaml:"name"`
	Gecos    string   `yaml:"gecos,omitempty"`
	Shell    string   `yaml:"shell,omitempty"`
	Sudo     string   `yaml:"sudo,omitempty"`
	Locked   bool     `yaml:"lock_passwd"`
	Password text     `yaml:"plain_text_passwd,omitempty"`
	Keys     []string `yaml:"ssh_authorized_keys,omitempty"`
}

type writeFile struct {
	Path        text   `yaml:"path"`
	Content     text   `yaml:"content"`
	Encoding    string `yaml:"encoding,omitempty"`
	Permissions string `yaml:"permissions"`
	Owner       string `yaml:"owner,omitempty"`
	Append      bool   `yaml:"append,omitempty"`
	Defer       bool   `yaml:"defer,omitempty"`
}

// userData returns one cloud-config document, or a multi-part one when the author brings a part.
func userData(cfg Config) ([]byte, error) {
	if strings.TrimSpace(cfg.UserData) != "" {
		return multiPart(cfg)
	}
	return cloudConfig(struct {
		essentials `yaml:",inline"`
		additions  `yaml:",inline"`
	}{planEssentials(cfg), planAdditions(cfg)})
}

func cloudConfig(document any) ([]byte, error) {
	text, err := encode(document)
	if err != nil {
		return nil, err
	}
	return append([]byte(cloudConfigHeader), text...), nil
}

func planEssentials(cfg Config) essentials {
	out := essentials{
		Hostname:       cfg.Hostname,
		FQDN:           cfg.FQDN,
		ManageHosts:    "localhost",
		RootKeys:       cfg.RootKeys,
		PasswordLogin:  cfg.User.Password != "",
		DeleteHostKeys: true,
		// Given keys also keep cloud-init from generating any, which takes seconds without KVM.
		HostKeys: map[string]string{
			"ed25519_private": cfg.HostKey.Private,
			"ed25519_public":  cfg.HostKey.Public,
		},
		NoFingerprints: true,
		FinalMessage:   FinalMessage(cfg),
	}
	if len(cfg.Packages) > 0 {
		out.UpdatePackages = true
		out.Apt = &apt{Conf: aptConf}
	}
	return out
}

// aptConf keeps apt from asking, from racing with its own daily jobs and from giving up on a busy lock.
const aptConf = `APT::Get::Assume-Yes "true";
APT::Periodic::Enable "0";
DPkg::Lock::Timeout "300";
Dpkg::Options {"--force-confdef"; "--force-confold";};
`

// needrestartConf keeps Ubuntu's needrestart, which may take minutes, from looking at every process after each package.
const needrestartConf = `$nrconf{restart} = 'l';
$nrconf{kernelhints} = 0;
$nrconf{ucodehints} = 0;
`

func planAdditions(cfg Config) additions {
	out := additions{Users: planUsers(cfg), Packages: texts(cfg.Packages)}
	files := append([]File{sshdFile(cfg)}, envFiles(cfg.Env)...)
	if cfg.BootNonce != "" {
		files = append(files, File{Path: NoncePath, Content: cfg.BootNonce + "\n"})
	}
	if len(cfg.Hosts) > 0 {
		files = append(files, hostsFile(cfg.Hosts))
	}
	if len(cfg.Packages) > 0 {
		files = append(files, File{Path: "/etc/needrestart/conf.d/90-labtest.conf", Content: needrestartConf})
	}
	if cfg.User.Name != "" {
		files = append(files, File{Path: "/var/lib/systemd/linger/" + cfg.User.Name})
		// Where logind started before the account existed, it has ignored the file.
		out.RunCmd = append(out.RunCmd, texts([]string{"loginctl", "enable-linger", cfg.User.Name}))
	}
	for _, file := range append(files, cfg.WriteFiles...) {
		out.WriteFiles = append(out.WriteFiles, planFile(file))
	}
	for _, command := range cfg.RunCmd {
		if command.Shell != "" {
			out.RunCmd = append(out.RunCmd, text(command.Shell))
		} else {
			out.RunCmd = append(out.RunCmd, texts(command.Argv))
		}
	}
	return out
}

// planUsers never lists default, so the distribution's own account is not made. Where there is no other user it lists
// root, because cloud-init refuses an empty list and makes the default account if there is none.
func planUsers(cfg Config) []user {
	out := user{
		Name:     cfg.User.Name,
		Locked:   cfg.User.Password == "",
		Password: text(cfg.User.Password),
		Keys:     append(append([]string{}, cfg.RootKeys...), cfg.User.AuthorizedKeys...),
	}
	switch out.Name {
	case "":
		out.Name = "root"
	case "root":
	default:
		out.Gecos, out.Shell, out.Sudo = "labtest", "/bin/bash", "ALL=(ALL) NOPASSWD:ALL"
	}
	return []user{out}
}

// sshdFile tunes sshd: many commands at once over one connection, no look-ups of the client's name. sshd takes the
// first value it reads, so this wins over the image's own drop-ins, such as Ubuntu's ban of passwords. It bans none
// itself, because an author's cloud-config may ask for them.
func sshdFile(cfg Config) File {
	root, passwords := "prohibit-password", ""
	if cfg.User.Password != "" {
		passwords = "PasswordAuthentication yes\n"
		if cfg.User.Name == "root" {
			root = "yes"
		}
	}
	return File{
		Path:        "/etc/ssh/sshd_config.d/00-labtest.conf",
		Permissions: "0600",
		Content:     "PermitRootLogin " + root + "\n" + passwords + sshdTuning,
	}
}

const sshdTuning = `MaxSessions 128
MaxStartups 128
ClientAliveInterval 0
UseDNS no
GSSAPIAuthentication no
`

func hostsFile(hosts []Host) File {
	var text strings.Builder
	text.WriteString("\n")
	for _, host := range hosts {
		text.WriteString(host.Addr.String() + " " + strings.Join(host.Names, " ") + "\n")
	}
	return File{Path: "/etc/hosts", Content: text.String(), Append: true}
}

func planFile(file File) writeFile {
	out := writeFile{
		Path:        text(file.Path),
		Content:     text(file.Content),
		Encoding:    file.Encoding,
		Permissions: file.Permissions,
		Owner:       file.Owner,
		Append:      file.Append,
	}
	if out.Permissions == "" {
		out.Permissions = "0644"
	}
	if !utf8.ValidString(file.Content) || strings.ContainsFunc(file.Content, unusual) {
		out.Content = text(base64.StdEncoding.EncodeToString([]byte(file.Content)))
		out.Encoding = base64Over(out.Encoding)
	}
	// Files are written before accounts are made; one that belongs to an ordinary account has to wait.
	owner, group, _ := strings.Cut(file.Owner, ":")
	out.Defer = (owner != "" && owner != "root") || (group != "" && group != "root")
	return out
}

// base64Over names the encoding of content that is base64 on top of another encoding.
func base64Over(encoding string) string {
	switch encoding {
	case "gz", "gzip":
		return "gz+b64"
	case "", "text/plain":
		return "b64"
	default: // base64 already, so the text cannot be right: cloud-init shall say so
		return encoding
	}
}

// unusual reports characters that YAML carries badly or that a text file does not have.
func unusual(r rune) bool {
	return (r < ' ' && r != '\n' && r != '\t') || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\ufeff' || r == '\u2028' || r == '\u2029'
}
