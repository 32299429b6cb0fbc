#!/bin/sh
# Makes a disk that boots by itself, by BIOS and by UEFI, from a recipe image of the store, which has no boot loader:
# bootable-disk.sh IMAGE_FOLDER DISK. Nothing is mounted: no root, no loop device. One image makes the same disk each time, to the
# last byte: times and serial numbers are fixed.
set -eu
image=$1 disk=$2
export SOURCE_DATE_EPOCH=1700000000 # for mtools
PATH=$PATH:/usr/sbin:/sbin # sfdisk, mkfs.fat
first=2048 count=131072    # the loaders' partition, in sectors of 512 bytes: 64 MiB, behind it the root file system
root=$((first + count))

# Debian and Ubuntu keep SYSLINUX in the first two folders, Fedora in the third.
part_of_syslinux() {
	file=$(find /usr/lib/syslinux /usr/lib/SYSLINUX.EFI /usr/share/syslinux -path "*/$1" 2>/dev/null | head -n 1)
	[ -n "$file" ] || {
		echo "$1 of SYSLINUX is not installed: make setup" >&2
		exit 1
	}
	echo "$file"
}
mbr=$(part_of_syslinux mbr.bin)
efi=$(part_of_syslinux efi64/syslinux.efi)
efi_core=$(part_of_syslinux ldlinux.e64)

size=$(qemu-img info -f qcow2 "$image/disk.qcow2" | sed -n 's/^virtual size: .*(\([0-9]*\) bytes)$/\1/p')
truncate -s $((root * 512 + size)) "$disk"
sfdisk -q "$disk" <<TABLE
label: dos
label-id: 0x6c616221
start=$first, size=$count, type=ef, bootable
start=$root, type=83
TABLE
qemu-img convert -n --target-is-zero -f qcow2 --target-image-opts "$image/disk.qcow2" \
	"driver=raw,offset=$((root * 512)),size=$size,file.driver=file,file.filename=$disk"

# FAT16: mtools and mkfs.fat differ on whether so few clusters could be FAT32.
mkfs.fat --invariant -F 16 --offset $first "$disk" $((count / 2)) >/dev/null 2>&1
fat=$disk@@$((first * 512))
# A kernel whose processor the host does not run for a while would take its timer for broken, and panic: no_timer_check.
# QEMU translates anew what lies at other addresses: norandmaps.
config() {
	printf 'DEFAULT linux\nLABEL linux\nLINUX /vmlinuz\nINITRD /initrd.img\nAPPEND root=LABEL=rootfs ro console=ttyS0 fsck.mode=skip no_timer_check norandmaps loader=%s\n' "$1"
}
mcopy -i "$fat" "$image/vmlinuz" "$image/initrd.img" ::/
config bios | mcopy -i "$fat" - ::/syslinux.cfg
syslinux --install --offset $((first * 512)) "$disk"
dd if="$mbr" of="$disk" bs=440 count=1 conv=notrunc status=none
mmd -i "$fat" ::/EFI ::/EFI/BOOT
mcopy -i "$fat" "$efi" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$fat" "$efi_core" ::/EFI/BOOT/
config uefi | mcopy -i "$fat" - ::/EFI/BOOT/syslinux.cfg
