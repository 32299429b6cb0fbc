package seed

import (
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"
)

// HostKey is the identity of a machine's SSH server, made before its first boot so that a client can check it from the
// first byte.
type HostKey struct {
	Private string // OpenSSH PEM
	Public  string // one line in authorized_keys form
}

// ClientKey lets its holder log in to the machines of a lab.
type ClientKey struct {
	Private string // OpenSSH PEM
	Public  string // one line in authorized_keys form
}

// NewHostKey makes an ed25519 host key from 32 bytes of rand, which should be crypto/rand's Reader.
func NewHostKey(rand io.Reader) (HostKey, error) {
	private, public, err := newKey(rand, "labtest-host")
	if err != nil {
		return HostKey{}, fmt.Errorf("make SSH host key: %w", err)
	}
	return HostKey{Private: private, Public: public}, nil
}

// NewClientKey makes an ed25519 client key from 32 bytes of rand, which should be crypto/rand's Reader.
func NewClientKey(rand io.Reader) (ClientKey, error) {
	private, public, err := newKey(rand, "labtest-client")
	if err != nil {
		return ClientKey{}, fmt.Errorf("make SSH client key: %w", err)
	}
	return ClientKey{Private: private, Public: public}, nil
}

func newKey(rand io.Reader, comment string) (private, public string, err error) {
	var seed [ed25519.SeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return "", "", fmt.Errorf("read random bytes: %w", err)
	}
	key := ed25519.NewKeyFromSeed(seed[:])
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return "", "", fmt.Errorf("encode private key: %w", err)
	}
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", "", fmt.Errorf("encode public key: %w", err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
	return string(pem.EncodeToMemory(block)), line + " " + comment, nil
}
