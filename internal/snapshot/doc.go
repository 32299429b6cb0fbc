// Package snapshot keeps saved labs, from which later labs start warm.
//
// A Store is a folder that any number of processes share. An entry is a folder of its own: a manifest, and for each node its
// memory, a read-only layer of its disk, its seed and what its console had printed. A key, the digest of everything that the
// machines were made from, leads to at most one entry.
//
// A key is filled under a lock, so that of several processes one works and the others wait for it; it is filled in a
// temporary folder that is renamed, so there is no half entry. An entry in use holds a shared lock until Close, or until its
// process dies, and is never removed. Files are checked by size and CRC-32C each time an entry is used, and by SHA-256 when
// asked. The kernel frees the locks of a process that dies: nothing depends on process ids.
package snapshot
