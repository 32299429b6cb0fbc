package virt

import (
	"fmt"
	"sync"

	"libvirt.org/go/libvirt"
)

// libvirt's event loop is one per process by its own design (virEventRegisterDefaultImpl); it has to be registered
// before the first connection and cannot be taken back. This is the one place of ionlab with state of a process.
//
//nolint:gochecknoglobals // see above.
var startLoop = sync.OnceValue(func() error {
	if err := libvirt.EventRegisterDefaultImpl(); err != nil {
		return fmt.Errorf("register libvirt's event loop: %w", err)
	}
	go runLoop()
	return nil
})

// runLoop serves events for the life of the process. An iteration that fails is not repeated in a tight circle:
// libvirt's poll blocks until something happens, and it fails only when the process is out of memory or descriptors.
func runLoop() {
	for {
		if err := libvirt.EventRunDefaultImpl(); err != nil {
			return
		}
	}
}
