package guest

import (
	"context"
	"io"
)

// feed runs a command that reads a content, over a direct connection where that is worth it.
func (c *Client) feed(ctx context.Context, cmd Cmd, content bulk) (*Result, error) {
	bySSH := func() (*Result, error) {
		cmd.Stdin = content.Reader
		return c.runWith(ctx, cmd, nil)
	}
	if content.size < directLeast || !c.directWorks(ctx) {
		return bySSH()
	}
	d, err := c.openDirect()
	if err != nil {
		return bySSH()
	}
	defer d.Close() // Its work is done, and the digest was compared.
	wrapped, err := d.through(cmd, connectOut)
	if err != nil {
		return nil, err
	}
	sent := c.move(func() error { return d.send(content.Reader) }, func() {
		_ = d.Close() // The guest would wait for the rest.
	})
	res, err := c.runWith(ctx, wrapped, nil)
	if err == nil && res.code == notDirect {
		_ = d.Close()
		<-sent.done // It has read nothing: nobody connected.
		c.setDirect(true, false)
		return bySSH()
	}
	// What went wrong with the content explains what the guest then says. A content that is still being read has nothing
	// to explain.
	select {
	case <-sent.done:
		if sent.err != nil {
			return nil, sent.err
		}
	default:
	}
	return res, err
}

// drawn runs a command whose standard output goes to out, over a direct connection where there can be one.
func (c *Client) drawn(ctx context.Context, cmd Cmd, out io.Writer) (*Result, error) {
	bySSH := func() (*Result, error) {
		cmd.Stdout, cmd.dropStdout = out, true
		return c.runWith(ctx, cmd, nil)
	}
	if !c.directWorks(ctx) {
		return bySSH()
	}
	d, err := c.openDirect()
	if err != nil {
		return bySSH()
	}
	defer d.Close() // Its work is done.
	wrapped, err := d.through(cmd, connectIn)
	if err != nil {
		return nil, err
	}
	received := c.move(func() error { return d.receive(out) }, func() {})
	res, err := c.runWith(ctx, wrapped, nil)
	if err == nil && res.code == notDirect {
		_ = d.Close()
		<-received.done
		c.setDirect(true, false)
		return bySSH()
	}
	if err != nil {
		_ = d.Close()
		<-received.done
		return nil, err
	}
	// The script has connected, so that this ends with what it wrote.
	select {
	case <-received.done:
	case <-ctx.Done():
		_ = d.Close()
		<-received.done
		return nil, context.Cause(ctx)
	}
	if received.err != nil {
		return nil, received.err
	}
	return res, nil
}

// moving is a copy under way.
type moving struct {
	done chan struct{}
	err  error // valid when done is closed
}

// move copies in the background; failed is called after done is closed, when there was an error.
func (c *Client) move(do func() error, failed func()) *moving {
	m := &moving{done: make(chan struct{})}
	c.wg.Go(func() {
		m.err = do()
		close(m.done)
		if m.err != nil {
			failed()
		}
	})
	return m
}
