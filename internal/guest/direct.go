package guest

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// directLeast is the size from which an upload is worth a TCP connection of its own: under emulation SSH needs a tenth of a
	// second for it, the connection less than half of that.
	directLeast = 1 << 20
	// directToken is how long the first line of such a connection may take.
	directToken = 10 * time.Second
	// directProbe bounds the one try that finds out whether such connections work.
	directProbe = 30 * time.Second
	// notDirect is the exit status of connectOut when the guest cannot connect.
	notDirect = 97
)

// connectOut connects to $1, port $2, shows the token $3 and gives way to the rest of its arguments, which read from the
// connection; connectIn has them write to it.
const (
	connectOut = `exec 3<>"/dev/tcp/$1/$2" || exit 97; printf '%s\n' "$3" >&3 || exit 97; shift 3; exec "$@" <&3 3>&-`
	connectIn  = `exec 3<>"/dev/tcp/$1/$2" || exit 97; printf '%s\n' "$3" >&3 || exit 97; shift 3; exec "$@" >&3 3>&-`
)

// directState is what is known of a guest's ability to connect to the host.
type directState struct {
	mu    sync.Mutex
	known bool
	works bool
}

// direct is a TCP connection from the guest beside SSH, by which the content of files travels: the control path is
// private to the host, and under emulation a cipher costs many times what the copy costs. The guest is told a token by SSH
// and shows it first. What arrived is verified by its digest, as ever.
type direct struct {
	listener net.Listener
	token    string

	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

func (c *Client) openDirect() (*direct, error) {
	listener, err := c.cfg.Listen()
	if err != nil {
		return nil, err
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &direct{listener: listener, token: hex.EncodeToString(b[:])}, nil
}

// through makes a command read from the connection, or write to it.
func (d *direct) through(cmd Cmd, connect string) (Cmd, error) {
	host, port, err := net.SplitHostPort(d.listener.Addr().String())
	if err != nil {
		return cmd, fmt.Errorf("address of the direct connection: %w", err)
	}
	cmd.Argv = append([]string{"bash", "-c", connect, "ionlab", host, port, d.token}, cmd.Argv...)
	return cmd, nil
}

// accept waits for the guest's connection. Others, which do not know the token, are hung up on.
func (d *direct) accept() (net.Conn, error) {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return nil, err
		}
		if !d.trusted(conn) {
			_ = conn.Close()
			continue
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.closed {
			_ = conn.Close()
			return nil, net.ErrClosed
		}
		d.conn = conn
		return conn, nil
	}
}

// trusted reads the token's line and not a byte more.
func (d *direct) trusted(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(directToken))
	line := make([]byte, len(d.token)+1)
	if _, err := io.ReadFull(conn, line); err != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Time{})
	return subtle.ConstantTimeCompare(line, []byte(d.token+"\n")) == 1
}

// Close ends the listener and the connection.
func (d *direct) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	err := d.listener.Close()
	if d.conn != nil {
		err = errors.Join(err, d.conn.Close())
	}
	return err
}

// send writes the content to the connection. An error is one of the content: whether the guest took it is for the
// guest's script to say.
func (d *direct) send(content io.Reader) error {
	conn, err := d.accept()
	if err != nil {
		return nil //nolint:nilerr // the script, which did not connect, says why.
	}
	in := &inputReader{Reader: content}
	_, _ = io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{in}, make([]byte, copyBuffer))
	if in.err != nil {
		return in.err
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	return nil
}

// receive passes on what comes over the connection until the guest ends it.
func (d *direct) receive(to io.Writer) error {
	conn, err := d.accept()
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{conn}, make([]byte, copyBuffer))
	return err
}

// directWorks tells whether the guest can connect to the host. It is tried once for each boot.
func (c *Client) directWorks(ctx context.Context) bool {
	if c.cfg.Listen == nil {
		return false
	}
	c.direct.mu.Lock()
	defer c.direct.mu.Unlock()
	if c.direct.known {
		return c.direct.works
	}
	err := c.tryDirect(ctx)
	if ctx.Err() != nil {
		return false // and nothing is known
	}
	if err != nil {
		c.cfg.Log.Debug("files travel by SSH: the guest cannot connect to the host", "node", c.cfg.Name, "err", err)
	}
	c.direct.known, c.direct.works = true, err == nil
	return c.direct.works
}

// forgetDirect has the next copy try again: the guest may be another one.
func (c *Client) forgetDirect() { c.setDirect(false, false) }

func (c *Client) setDirect(known, works bool) {
	c.direct.mu.Lock()
	defer c.direct.mu.Unlock()
	c.direct.known, c.direct.works = known, works
}

// tryDirect has the guest connect once.
func (c *Client) tryDirect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, directProbe)
	defer cancel()
	d, err := c.openDirect()
	if err != nil {
		return err
	}
	cmd, err := d.through(Cmd{Argv: []string{"true"}}, connectOut)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	seen := make(chan error, 1)
	c.wg.Go(func() {
		_, err := d.accept()
		seen <- err
	})
	res, err := c.runWith(ctx, cmd, nil)
	if err == nil && res.code != 0 {
		err = c.scriptError("connect", "to the host", res)
	}
	if err == nil {
		select {
		case err = <-seen:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return errors.Join(err, d.Close())
}
