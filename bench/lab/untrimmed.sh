#!/bin/sh
# The packages of a recipe as Debian ships them: its initrd, its cloud-init, its units. Arguments: suite, packages (comma
# separated), folder for base.qcow2, vmlinuz and initrd.img, size in bytes.
set -eu
suite=$1 packages=$2 out=$3 size=$4
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
mmdebstrap --mode=root --format=directory --variant=minbase --include="$packages" --dpkgopt=force-unsafe-io \
	--aptopt='Acquire::Retries "3"' --skip=chroot/mount/sys "$suite" "$work/tree"
echo 'LABEL=rootfs / ext4 errors=remount-ro 0 1' >"$work/tree/etc/fstab"
echo localhost >"$work/tree/etc/hostname"
printf '127.0.0.1 localhost\n' >"$work/tree/etc/hosts"
: >"$work/tree/etc/machine-id"
rm -f "$work/tree/var/lib/dbus/machine-id" "$work/tree"/etc/ssh/ssh_host_* "$work/tree/etc/resolv.conf"
ln -s ../run/systemd/resolve/stub-resolv.conf "$work/tree/etc/resolv.conf"
# cloud-init's own locale is not generated in a machine this small, which it takes for an error.
echo 'locale: C.UTF-8' >"$work/tree/etc/cloud/cloud.cfg.d/10-locale.cfg"
cp "$work"/tree/boot/vmlinuz-* "$out/vmlinuz"
cp "$work"/tree/boot/initrd.img-* "$out/initrd.img"
truncate -s "$size" "$work/disk.raw"
mke2fs -q -F -t ext4 -L rootfs -m 1 -E lazy_itable_init=0,lazy_journal_init=0 -d "$work/tree" "$work/disk.raw"
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$work/base.qcow2"
chmod 644 "$out/vmlinuz" "$out/initrd.img" "$work/base.qcow2"
mv "$work/base.qcow2" "$out/base.qcow2"
