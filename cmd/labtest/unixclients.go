package main

import (
	"fmt"
	"os"
	"strings"
)

// unixClients counts the connections at a listening unix socket: those that its owner has taken up, and those that wait
// for it to do so. Source: /proc/net/unix, whose lines are "Num RefCount Protocol Flags Type St Inode Path"; St is 03 for
// a connection that was accepted and 02 for one that was not (SS_CONNECTED and SS_CONNECTING, include/uapi/linux/net.h).
func unixClients(socket string) (held, waiting int, err error) {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return 0, 0, fmt.Errorf("look who is connected to %s: %w", socket, err)
	}
	held, waiting = countClients(string(data), socket)
	return held, waiting, nil
}

func countClients(table, socket string) (held, waiting int) {
	for line := range strings.Lines(table) {
		fields := strings.SplitN(strings.TrimSuffix(strings.Join(strings.Fields(line), " "), "\n"), " ", 8)
		if len(fields) < 8 || fields[7] != socket {
			continue
		}
		switch fields[5] {
		case "03":
			held++
		case "02":
			waiting++
		}
	}
	return held, waiting
}
