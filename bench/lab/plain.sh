#!/bin/sh
# The plain way: what a person without ionlab does, with qemu-img, virsh, QEMU and OpenSSH.
#
#   plain.sh restore FOLDER...   a fresh overlay, virsh restore and ssh of each machine, all at once
#   plain.sh revert FOLDER       the same after virsh destroy
#   plain.sh destroy FOLDER...
#   plain.sh save FOLDER         virsh save of the machine in "state" and domain.xml, which was never let run
#   plain.sh boot FOLDER         QEMU, and ssh until cloud-init is done; prints "ready", and holds until its input ends
#
# A machine's folder has: name, ssh_config; s/memory, domain.xml and layer, the path of a disk, for restore; base.qcow2, seed.iso, vmlinuz,
# initrd.img, memory_mb, mac, net, for boot. Needs VIRSH_DEFAULT_CONNECT_URI, and OWNER, the user and group that run QEMU.
set -eu

overlay() { # folder, base
	rm -f "$1/disk.qcow2"
	qemu-img create -q -f qcow2 -b "$2" -F qcow2 "$1/disk.qcow2"
	if [ -n "$OWNER" ]; then chown "$OWNER" "$1/disk.qcow2"; fi
}

destroy() { virsh -q destroy "$(cat "$1/name")"; }

restore() {
	overlay "$1" "$(cat "$1/layer")"
	virsh -q restore --running --xml "$1/domain.xml" "$1/s/memory"
	ssh -F "$1/ssh_config" guest true
}

boot() {
	overlay "$1" "$1/base.qcow2"
	# It dies with this script.
	setpriv --pdeathsig KILL qemu-system-x86_64 -nodefaults -display none -serial "file:$1/console" \
		-machine q35,accel=tcg,smm=off,vmport=off,hpet=off -cpu max -smp 1 -m "$(cat "$1/memory_mb")" \
		-kernel "$1/vmlinuz" -initrd "$1/initrd.img" -append "root=LABEL=rootfs ro console=ttyS0" \
		-drive "file=$1/disk.qcow2,if=virtio,format=qcow2,cache=unsafe,discard=unmap" \
		-drive "file=$1/seed.iso,if=virtio,format=raw,readonly=on" -object rng-random,id=rng,filename=/dev/urandom \
		-device virtio-rng-pci,rng=rng -netdev "user,id=lan,$(cat "$1/net")" \
		-device "virtio-net-pci,netdev=lan,mac=$(cat "$1/mac"),romfile=" &
	qemu=$!
	until ssh -F "$1/ssh_config" -o ConnectTimeout=5 guest true 2>"$1/ssh.log"; do
		kill -0 "$qemu" || exit 1
		sleep 0.5
	done
	ssh -F "$1/ssh_config" guest cloud-init status --wait --long >"$1/ssh.log" 2>&1
	echo ready
	cat >/dev/null
	kill -KILL "$qemu"
}

save() {
	overlay "$1" "$(cat "$1/layer")"
	virsh -q restore --paused --xml "$1/domain.xml" "$1/state"
	virsh -q save "$(cat "$1/name")" "$1/s/memory"
}

verb=$1
shift
case $verb in
restore)
	waits=
	for folder; do
		restore "$folder" &
		waits="$waits $!"
	done
	for pid in $waits; do wait "$pid"; done
	;;
revert)
	destroy "$1"
	restore "$1"
	;;
destroy) for folder; do destroy "$folder"; done ;;
boot) boot "$1" ;;
save) save "$1" ;;
*)
	echo "plain.sh: unknown verb $verb" >&2
	exit 2
	;;
esac
