// Package guest is everything ionlab does inside a guest over SSH: connect, run commands, move files.
//
// One Client serves one node. It keeps one SSH connection, opens it when it is first needed, opens it again when it
// has died, and adds connections only while the guest's sshd has no session left on the ones it has. All methods may
// be called from many goroutines at once.
//
// What the guest must have: sshd, a POSIX login shell for the user ionlab logs in as, coreutils; GNU tar for trees and
// sparse files; setpriv (util-linux) for commands as another user; systemd-logind for commands in a login session.
//
// Commands are exact: argv arrives byte for byte, the program replaces the shell that starts it (so a death by signal is
// seen as one), and the exit status is either known or the call fails. A small launcher in the login shell announces on
// stderr, behind a random mark, that the program is about to start; the mark is taken out of the stream here. What goes
// wrong before it (no such directory, unknown user) is an error; what comes after it belongs to the program.
package guest
