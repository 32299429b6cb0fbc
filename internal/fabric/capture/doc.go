// Package capture writes Ethernet frames as pcapng files, which Wireshark and tshark open, and keeps the last frames of a
// network in a ring until somebody wants them as such a file. It knows nothing of links and sockets: the fabric feeds it.
//
// A file has one section, whose comment says what was captured; one interface per link, named by the caller, with
// timestamps in nanoseconds; the direction of each frame as its interface's machine sees it; and at the end the statistics
// of each interface, among them how many frames are missing. Comments, such as the steps of a spec, are packets of an
// interface of their own: see [Writer.Comment].
//
// The format is that of the IETF's draft-ietf-opsawg-pcapng, written by gopacket.
package capture
