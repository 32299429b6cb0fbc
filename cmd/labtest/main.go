// Command labtest runs labs of virtual machines from topology files, and reaches into labs that run.
//
// Exit status: 0 ok, 1 the operation failed, 2 usage or invalid input. exec and ssh pass on the status of the remote
// command, and 255 when it could not be reached.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}
