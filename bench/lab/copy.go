package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"ionlab/internal/guest"
)

// copies measures one large file and a tree of small ones, both ways in both directions.
func (b *bench) copies(ctx context.Context) (err error) {
	d, err := b.startDuo(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close(ctx)) }()
	client, err := d.lab.Nodes()[0].Guest()
	if err != nil {
		return err
	}
	c := &copier{b: b, client: client, twin: d.twins.machines[0], file: filepath.Join(b.work, "large"), tree: filepath.Join(b.work, "tree")}
	if err := errors.Join(randomFile(c.file, int64(b.copyMB)<<20), c.makeTree(b.files)); err != nil {
		return err
	}
	return errors.Join(c.large(ctx), c.small(ctx))
}

// copier copies between the host and the same machine both ways.
type copier struct {
	b          *bench
	client     *guest.Client
	twin       *machine
	file, tree string // on the host
}

func (c *copier) large(ctx context.Context) error {
	up, down := filepath.Join(c.b.work, "up"), filepath.Join(c.b.work, "down")
	batch := filepath.Join(c.b.work, "batch")
	size := fmt.Sprintf("%d MB", c.b.copyMB)
	scp := func(args ...string) func(context.Context) error {
		return c.openSSH("scp", append([]string{"-q"}, args...)...)
	}
	sftp := func(line string) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := os.WriteFile(batch, []byte(line+"\n"), 0o600); err != nil {
				return err
			}
			return c.openSSH("sftp", "-q", "-b", batch, "guest")(ctx)
		}
	}
	upload := func(ctx context.Context) error { return c.client.Upload(ctx, c.file, "/root/large") }
	download := func(ctx context.Context) error { return c.client.Download(ctx, "/root/large", up) }
	for _, p := range []struct {
		name      string
		ours      func(context.Context) error
		scp, sftp func(context.Context) error
	}{
		{size + " into the guest", upload, scp(c.file, "guest:/root/large"), sftp("put " + c.file + " /root/large")},
		{size + " out of the guest", download, scp("guest:/root/large", down), sftp("get /root/large " + down)},
	} {
		by := func(name string, do func(context.Context) error) plainWay {
			return plainWay{row{Name: p.name + ", beside " + name, Unit: "s", Aim: 1, Plain: name + " of the whole file, login included"}, timed(do)}
		}
		_, err := c.b.run(ctx, contest{timed(p.ours), []plainWay{by("scp", p.scp), by("sftp", p.sftp)}}, c.b.times(3))
		if err != nil {
			return err
		}
	}
	return errors.Join(sameFile(c.file, up), sameFile(c.file, down), succeed(ctx, c.client, "rm", "/root/large"))
}

func (c *copier) small(ctx context.Context) error {
	back := filepath.Join(c.b.work, "back")
	if err := os.Mkdir(back, 0o700); err != nil {
		return err
	}
	by := func(direction string, do func(context.Context) (cost, error)) []plainWay {
		name := fmt.Sprintf("%d small files %s the guest", c.b.files, direction)
		return []plainWay{{row{Name: name, Unit: "s", Aim: 0.2, Plain: "scp -r, login included"}, do}}
	}
	// Every copy goes to where there is none yet.
	upload := after(
		func(ctx context.Context) error { return succeed(ctx, c.client, "rm", "-rf", "/root/tree") },
		func(ctx context.Context) error { return c.client.Upload(ctx, c.tree, "/root/tree") },
	)
	scpUp := after(c.openSSH("ssh", "guest", "rm -rf /root/tree"), c.openSSH("scp", "-q", "-r", c.tree, "guest:/root/"))
	if _, err := c.b.run(ctx, contest{upload, by("into", scpUp)}, c.b.times(3)); err != nil {
		return err
	}
	empty := func(name string) func(context.Context) error {
		return func(context.Context) error { return os.RemoveAll(filepath.Join(back, name)) }
	}
	download := after(empty("ours"), func(ctx context.Context) error {
		return c.client.Download(ctx, "/root/tree", filepath.Join(back, "ours"))
	})
	scpDown := after(empty("tree"), c.openSSH("scp", "-q", "-r", "guest:/root/tree", back))
	_, err := c.b.run(ctx, contest{download, by("out of", scpDown)}, c.b.times(3))
	return errors.Join(err, c.b.plain.command(ctx, "diff", "-r", c.tree, filepath.Join(back, "ours")))
}

// openSSH is a call of one of OpenSSH's programs.
func (c *copier) openSSH(program string, args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.b.plain.command(ctx, program, append(c.twin.ssh(program)[1:], args...)...)
	}
}

// makeTree makes files of 1 KiB in ten folders.
func (c *copier) makeTree(files int) error {
	for i := range files {
		dir := filepath.Join(c.tree, fmt.Sprintf("folder-%d", i%10))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := randomFile(filepath.Join(dir, fmt.Sprintf("file-%d", i)), 1<<10); err != nil {
			return err
		}
	}
	return nil
}

// randomFile makes a file that nothing can compress.
func randomFile(path string, size int64) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, rand.Reader, size)
	return errors.Join(err, out.Close())
}

func sameFile(a, b string) error {
	left, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	right, err := os.ReadFile(b)
	if err == nil && string(left) != string(right) {
		err = fmt.Errorf("%s came back as another one", a)
	}
	return err
}
