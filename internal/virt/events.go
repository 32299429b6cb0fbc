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
		return lab.Change{State: lab.Paused, Reason: pausedReason(event.Detail)}, true
	case libvirt.DOMAIN_EVENT_STOPPED:
		return lab.Change{State: lab.Stopped, Reason: stoppedReason(event.Detail)}, true
	case libvirt.DOMAIN_EVENT_CRASHED:
		return lab.Change{State: lab.Stopped, Reason: "the guest's kernel panicked (pvpanic)"}, true
	}
	return lab.Change{}, false
}

func pausedReason(detail int) string {
	switch libvirt.DomainEventSuspendedDetailType(detail) { //nolint:exhaustive // the rest is "paused".
	case libvirt.DOMAIN_EVENT_SUSPENDED_IOERROR:
		return "paused by QEMU after an I/O error (is the host's disk full?)"
	case libvirt.DOMAIN_EVENT_SUSPENDED_WATCHDOG:
		return "paused by its watchdog"
	}
	return "paused"
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
