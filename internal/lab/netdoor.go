package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// netDoor is the name of the socket, in the folder of a lab's doors, at which the owner tells the state of its networks.
const netDoor = "net"

// lookLimit bounds a question for the state of a lab's networks.
const lookLimit = 5 * time.Second

// tellNetState answers one client of netDoor. Who does not listen gets nothing.
func (l *Lab) tellNetState(_ context.Context, conn net.Conn) {
	state, err := l.NetState()
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(lookLimit))
	}
	if err == nil {
		err = json.NewEncoder(conn).Encode(state)
	}
	if err != nil {
		l.log.Debug("cannot tell the state of the networks", "err", err)
	}
}

// NetState asks the lab's owner for the state of its networks.
func (f Found) NetState(ctx context.Context) (NetState, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookLimit, fmt.Errorf("no answer within %s", lookLimit))
	defer cancel()
	var state NetState
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(f.run, "d", netDoor))
	if err != nil {
		return state, fmt.Errorf("look at the networks of lab %s: %w", f.ID, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() { stop(); _ = conn.Close() }()
	if err := json.NewDecoder(conn).Decode(&state); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return state, fmt.Errorf("look at the networks of lab %s: %w", f.ID, err)
	}
	return state, nil
}
