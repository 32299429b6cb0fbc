package virt

import (
	"libvirt.org/go/libvirt"

	"ionlab/internal/lab"
)

// translate puts libvirt's lifecycle events into the lab's words; events that change nothing for us are not ok.
func translate(event *libvirt.DomainEventLifecycle) (lab.Change, bool) {
	switch event.Event { //nolint:exhaustive // the other events are about persistent domains.
	case libvirt.DOMAIN_EVENT_STARTED, libvirt.DOMAIN_EVENT_RESUMED:
		return lab.Change{State: lab.Running, Reason: "running"}, true
	case libvirt.DOMAIN_EVENT_SUSPENDED:
		return suspended(event.Detail), true
	case libvirt.DOMAIN_EVENT_STOPPED:
		return lab.Change{State: lab.Stopped, Reason: stoppedReason(event.Detail)}, true
	case libvirt.DOMAIN_EVENT_CRASHED:
		return lab.Change{State: lab.Stopped, Reason: "the guest's kernel panicked (pvpanic)"}, true
	}
	return lab.Change{}, false
}

// suspended tells a pause that somebody asked for from one that QEMU took, which no guest comes back from by itself.
func suspended(detail int) lab.Change {
	switch libvirt.DomainEventSuspendedDetailType(detail) { //nolint:exhaustive // the rest is asked for.
	case libvirt.DOMAIN_EVENT_SUSPENDED_IOERROR:
		return lab.Change{State: lab.Stuck, Reason: "QEMU paused it after an I/O error (is the host's disk full?)"}
	case libvirt.DOMAIN_EVENT_SUSPENDED_WATCHDOG:
		return lab.Change{State: lab.Stuck, Reason: "its watchdog paused it"}
	}
	return lab.Change{State: lab.Paused, Reason: "paused"}
}

func stoppedReason(detail int) string {
	switch libvirt.DomainEventStoppedDetailType(detail) { //nolint:exhaustive // the rest is "stopped".
	case libvirt.DOMAIN_EVENT_STOPPED_SHUTDOWN:
		return "the guest shut down"
	case libvirt.DOMAIN_EVENT_STOPPED_DESTROYED:
		return "destroyed on the host"
	case libvirt.DOMAIN_EVENT_STOPPED_CRASHED:
		return "the guest crashed"
	case libvirt.DOMAIN_EVENT_STOPPED_FAILED:
		return "its QEMU process ended unasked (killed, or out of memory?)"
	case libvirt.DOMAIN_EVENT_STOPPED_SAVED:
		return "saved"
	}
	return "stopped"
}
