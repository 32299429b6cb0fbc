package seed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
)

// Digest is the same for two configurations that make the same machine but for what is drawn anew for each: instance id,
// boot nonce, host key, and the keys in RootKeys. The error is that of Files.
func Digest(cfg Config) (string, error) {
	if err := validate(cfg); err != nil {
		return "", fmt.Errorf("digest seed for %q: %w", cfg.Hostname, err)
	}
	// The private key is not even the same when it is made from the same bytes: its encoding has random bytes of its own.
	cfg.InstanceID, cfg.BootNonce, cfg.HostKey = "instance", "nonce", HostKey{Private: "private", Public: "public"}
	cfg.RootKeys = make([]string, len(cfg.RootKeys))
	files, err := render(cfg)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(hash, "%s %d\n%s\n", name, len(files[name]), files[name])
	}
	return hex.EncodeToString(hash.Sum(nil)[:16]), nil
}
