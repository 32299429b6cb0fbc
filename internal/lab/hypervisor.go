package lab

import "context"

// Hypervisor starts domains for one lab and owns every process behind them. Package virt implements it on a
// private libvirt; tests inject a fake.
type Hypervisor interface {
	// Create starts the domain that xml describes. Name is the one in xml. The domain is transient: it is gone
	// once it stops.
	Create(ctx context.Context, name, xml string) (Machine, error)
	// Restore starts the domain that Machine.Save wrote to path, paused. Paths in xml may be others than they were;
	// name, UUID and hardware must be the same.
	Restore(ctx context.Context, name, xml, path string) (Machine, error)
	// Version names what a saved domain depends on besides QEMU.
	Version(ctx context.Context) (string, error)
	// Close ends every domain at once and leaves no process. It is idempotent.
	Close() error
}

// Machine is one running domain.
type Machine interface {
	// Do asks for a change of power state. It returns when the hypervisor accepted it, not when the guest obeyed.
	// To shut down or power off a machine that has stopped is no error.
	Do(ctx context.Context, action Action) error
	// Save writes memory and devices of the machine to path and ends its domain. After an error it goes on as it was.
	Save(ctx context.Context, path string) error
	// Inspect tells what the hypervisor runs, for evidence.
	Inspect(ctx context.Context) (Inspection, error)
	// Changes delivers what happens to the domain, in order. It is closed after a change to Stopped.
	Changes() <-chan Change
}

// Action is a change of power state that a machine can be asked for.
type Action string

// The actions of a machine.
const (
	Shutdown Action = "shutdown"  // press the power button: the guest may take its time or refuse
	PowerOff Action = "power off" // pull the plug
	Reset    Action = "reset"     // press the reset button
	Pause    Action = "pause"     // stop the virtual CPUs
	Resume   Action = "resume"    // let them run on
)

// Inspection is what a hypervisor knows about a machine.
type Inspection struct {
	XML     string // the domain as it runs
	Command string // the command line of its QEMU, shell-quoted; empty when unknown
	PID     int    // of its QEMU, 0 when unknown
}

// State is where a domain is.
type State string

// The states of a domain.
const (
	Running State = "running"
	Paused  State = "paused"
	Reboot  State = "rebooted" // the guest restarted inside the running domain
	Stuck   State = "stuck"    // QEMU paused the guest by itself and will not let it run on
	Stopped State = "stopped"
)

// Change is an event in a machine's life.
type Change struct {
	State  State
	Reason string // in words, for example "crashed" or "destroyed"
}
