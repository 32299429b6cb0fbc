package virt

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds what takes milliseconds.
const patience = 20 * time.Second

// helperVar makes this test's program something else: the process that a test wants to kill, or to talk to.
const helperVar = "IONLAB_VIRT_HELPER"

func TestMain(m *testing.M) {
	if role := os.Getenv(helperVar); role != "" {
		if err := help(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func help(role string) error {
	switch role {
	case "spawner": // an owner of a child, for a test to kill
		p, err := spawn(exec.Command("sleep", "300"))
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, p.cmd.Process.Pid)
		<-p.done
		return p.err
	case "daemon": // listens as libvirtd does
		path := Socket(os.Getenv("HOME"))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		listener, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		for {
			conn, err := listener.Accept()
			if err != nil {
				return err
			}
			_ = conn.Close()
		}
	}
	return fmt.Errorf("no such role: %s", role)
}

// program writes a shell script into dir.
func program(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
