package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"
)

// connectCmd is what a lab's ssh_config has for ProxyCommand.
func (a *app) connectCmd() *cobra.Command {
	return &cobra.Command{
		Use: "connect SOCKET", Short: "Join standard input and output to a unix socket", Hidden: true,
		Args: wants("SOCKET"),
		RunE: verb(func(ctx context.Context, args []string) error {
			err := a.connectTo(ctx, args[0])
			if ctx.Err() == nil { // ssh hangs up when it is done: that is no error
				return err
			}
			return nil
		}),
	}
}

func (a *app) connectTo(ctx context.Context, socket string) error {
	conn, err := dialUnix(ctx, socket)
	if err != nil {
		return err
	}
	return join(ctx, conn, a.in, a.out, conn.CloseWrite)
}

func dialUnix(ctx context.Context, path string) (*net.UnixConn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connect to %s: not a unix socket", path), conn.Close())
	}
	return unix, nil
}

// join copies in to the socket and the socket to out, until the socket's other side has closed it or ctx ends. At the end
// of in it calls end. It does not wait for a read of in that nobody answers: that goroutine ends with the process.
func join(ctx context.Context, conn net.Conn, in io.Reader, out io.Writer, end func() error) error {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	go func() {
		_, _ = io.Copy(conn, in) // a broken socket shows on the other side, too
		_ = end()
	}()
	_, err := io.Copy(out, conn)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("copy from %s: %w", conn.RemoteAddr(), err)
	}
	return nil
}
