// Package lock holds locks that processes of one host share: flock(2) on files. The kernel frees the lock of a process that
// dies, so what a lock says is never out of date and nothing depends on process ids.
package lock
