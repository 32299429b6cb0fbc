#!/bin/sh
# Makes a disk with a boot loader for BIOS that finds no system to start: unbootable-disk.sh DISK.
set -eu
disk=$1
PATH=$PATH:/usr/sbin:/sbin # sfdisk
mbr=$(find /usr/lib/syslinux /usr/share/syslinux -name mbr.bin 2>/dev/null | head -n 1)
truncate -s 16M "$disk"
echo 'start=2048, type=83' | sfdisk -q --label dos "$disk"
dd if="${mbr:?mbr.bin of SYSLINUX is not installed: make setup}" of="$disk" bs=440 count=1 conv=notrunc status=none
