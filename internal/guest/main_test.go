package guest

import (
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Under nohup this process ignores SIGHUP, and so would the commands of the test server: what is caught here has its
	// default effect there (execve(2)).
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	goleak.VerifyTestMain(m)
}
