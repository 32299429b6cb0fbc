// Package nat is the network address and port translation of a router, with its firewall, as a pure function of packets and
// time: IPv4 packets in byte slices, changed in place; no sockets, no goroutines, no clock of its own.
//
// It has every combination of mapping and filtering that RFC 4787 (UDP), RFC 5382 (TCP) and RFC 5508 (ICMP) name, so that a
// lab can stand in for any home router, company firewall or carrier. Where those documents leave a choice, this is ours:
//
//   - Ports are never shared by two mappings (no port overloading, RFC 4787 REQ-3). Where a preserved port is taken, the
//     next free one above it is used. Parity and contiguity are not kept. A source port below 1024 is mapped below 1024.
//   - Packets from outside refresh neither a UDP nor an ICMP mapping (REQ-6 allows both); on TCP either side keeps a session.
//   - A TCP SYN from outside that the filtering does not admit is dropped without a word (RFC 5382 REQ-4 allows that), so
//     the outside's retransmission gets in once the inside has sent its own SYN: simultaneous open works.
//   - A TCP segment from inside that belongs to no session starts one, unless it is a reset: connections outlive a change of
//     the translation where the port is preserved.
//   - Hairpinning gives the packet the external source address (RFC 4787 REQ-9) and applies the filtering as if it came from
//     outside.
//   - Of fragments the first decides. Later ones that arrive before it are the caller's to hold.
//   - Protocols other than TCP, UDP and ICMP are not translated but dropped.
package nat
