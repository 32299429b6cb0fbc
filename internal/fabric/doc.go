// Package fabric is the networks of a lab, in the process of the lab's owner: a learning switch per network, a link per
// node and network on which QEMU connects a NIC, a gateway that answers ARP, ping, DNS and DHCP, and a control endpoint
// through which the host reaches the guests even when their data path is cut.
//
// A frame's way is: guest, link (egress stage), switch, link (ingress stage), queue, guest. Whatever shapes traffic sits in
// a stage; frames from or to the network's control address pass beside it. Nothing in the way of a frame waits for a slow
// receiver: each port has a bounded queue, and what does not fit is dropped and counted.
//
// A router joins networks: a link on each, ARP and neighbour discovery, forwarding with ICMP errors, and NAT (package nat)
// towards its outside. A frame bears the number of who sent it first through every router, so that a partition holds behind
// them and behind NAT.
//
// QEMU connects with -netdev stream,server=off,addr.type=unix,addr.path=SOCK (QEMU 7.2 or newer); on the socket each
// Ethernet frame follows its length in four bytes, most significant first (QEMU net/stream.c).
package fabric
