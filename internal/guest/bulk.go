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
	defer d.Close() //nolint:errcheck // its work is done, and the digest was compared.
	wrapped, err := d.through(cmd, connectOut)
	if err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	c.wg.Go(func() {
		err := d.send(content.Reader)
		sent <- err
		if err != nil {
			_ = d.Close() // The guest would wait for the rest.
		}
	})
	res, err := c.runWith(ctx, wrapped, nil)
	if err == nil && res.code == notDirect {
		_ = d.Close()
		<-sent // It has read nothing: nobody connected.
		c.setDirect(true, false)
		return bySSH()
	}
	// What went wrong with the content explains what the guest then says. A content that is still being read has nothing
	// to explain.
	select {
	case contentErr := <-sent:
		if contentErr != nil {
			return nil, contentErr
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
	defer d.Close() //nolint:errcheck // its work is done.
	wrapped, err := d.through(cmd, connectIn)
	if err != nil {
		return nil, err
	}
	received := make(chan error, 1)
	c.wg.Go(func() { received <- d.receive(out) })
	res, err := c.runWith(ctx, wrapped, nil)
	if err == nil && res.code == notDirect {
		_ = d.Close()
		<-received
		c.setDirect(true, false)
		return bySSH()
	}
	if err != nil {
		_ = d.Close()
		<-received
		return nil, err
	}
	// The script has connected, so that this ends with what it wrote.
	select {
	case err = <-received:
	case <-ctx.Done():
		_ = d.Close()
		<-received
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}
