# Shared by base.sh and derive.sh. Runs as root of a private mount and PID namespace, and of a private user
# namespace where the caller is an ordinary user. All mounts vanish with the namespace.
# Needs: WORK (scratch, same file system as OUT), OUT (results), DEBS (cache of .deb files), SIZE (bytes).
set -eu
umask 022
tree=$WORK/tree

stage() { printf 'STAGE %s\n' "$*"; }

# enter_tree makes the tree a place where apt and maintainer scripts can work, without a trace on disk.
enter_tree() {
	for d in null zero full random urandom tty; do
		[ -e "$tree/dev/$d" ] || : >"$tree/dev/$d"
		mount --bind "/dev/$d" "$tree/dev/$d"
	done
	mount -t tmpfs -o mode=0755 tmpfs "$tree/run"
	mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp"
	mount -t proc proc "$tree/proc"
	mkdir -p "$tree/run/systemd/resolve" "$tree/run/lock"
	if [ -e /etc/resolv.conf ]; then cat /etc/resolv.conf >"$tree/run/systemd/resolve/stub-resolv.conf"; fi
	mkdir -p "$DEBS/partial" "$tree/var/cache/apt/archives"
	mount --bind "$DEBS" "$tree/var/cache/apt/archives"
	printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
	chmod 755 "$tree/usr/sbin/policy-rc.d"
}

leave_tree() {
	rm -f "$tree/usr/sbin/policy-rc.d"
	umount "$tree/var/cache/apt/archives" "$tree/proc" "$tree/tmp" "$tree/run"
	for d in null zero full random urandom tty; do
		umount "$tree/dev/$d"
		if [ -f "$tree/dev/$d" ]; then rm -f "$tree/dev/$d"; fi
	done
}

# seal removes what would make two guests of one image twins, and what only the build needed.
seal() {
	: >"$tree/etc/machine-id"
	rm -f "$tree/var/lib/dbus/machine-id" "$tree"/etc/ssh/ssh_host_* "$tree/var/lib/systemd/random-seed"
	rm -f "$tree/etc/.pwd.lock" "$tree"/etc/passwd- "$tree"/etc/group- "$tree"/etc/shadow- "$tree"/etc/gshadow-
	rm -rf "$tree/var/lib/cloud" "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/*.bin
	rm -rf "$tree"/var/log/apt/* "$tree"/var/log/dpkg.log "$tree"/var/log/alternatives.log "$tree"/var/log/bootstrap.log
	rm -rf "$tree"/tmp/* "$tree"/run/*
	mkdir -p "$tree/var/lib/apt/lists/partial"
	# systemd makes users, indices and caches of what is in /usr when it is newer than these; the packages did so already.
	touch "$tree/etc/.updated" "$tree/var/.updated"
}

# module copies a module to the initrd's folder after those it depends on, and notes the order. Built-in ones are not in
# modules.dep. Arguments: modules.dep's folder, the initrd's, the file below the former.
module() {
	for dep in $(sed -n "s|^$3: *||p" "$1/modules.dep" | tr ' ' '\n' | tac); do
		module "$1" "$2" "$dep"
	done
	if ! grep -qx "${3##*/}" "$2/modules/order"; then
		cp "$1/$3" "$2/modules/"
		echo "${3##*/}" >>"$2/modules/order"
	fi
}

# small_initrd makes OUT/initrd.img for booting from the host: busybox, the virtio disk's modules, and a script. It takes a third
# of the time of the distribution's own, which stays in /boot for the guest. Argument: the kernel's version.
small_initrd() {
	at=$tree/tmp/initrd
	mkdir -p "$at/bin" "$at/dev" "$at/proc" "$at/sys" "$at/root" "$at/modules"
	cp "$tree/bin/busybox" "$at/bin/"
	: >"$at/modules/order"
	for name in virtio_pci virtio_blk virtio_scsi ext4; do
		file=$(sed -n "s|^\([^:]*/$name\.ko[^:]*\):.*|\1|p" "$tree/lib/modules/$1/modules.dep")
		if [ -n "$file" ]; then module "$tree/lib/modules/$1" "$at" "$file"; fi
	done
	cat >"$at/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
root= mode=ro init=/sbin/init
for word in $($b cat /proc/cmdline); do
	case $word in
	root=*) root=${word#root=} ;;
	init=*) init=${word#init=} ;;
	ro | rw) mode=$word ;;
	esac
done
while read -r module; do $b insmod "/modules/$module"; done </modules/order
tries=0
while :; do
	case $root in
	LABEL=* | UUID=*) disk=$($b findfs "$root" 2>/dev/null) ;;
	*) disk=$root ;;
	esac
	if [ -b "$disk" ]; then break; fi
	tries=$((tries + 1))
	if [ "$tries" = 1200 ]; then
		echo "initrd: the root file system $root did not appear within 60 s; disks:"
		$b cat /proc/partitions
		break
	fi
	$b usleep 50000
done
$b mount -t ext4 -o "$mode" "$disk" /root || echo "initrd: cannot mount $disk"
$b umount /sys /proc
exec $b switch_root /root "$init"
INIT
	chmod 755 "$at/init"
	(cd "$at" && find . | chroot "$tree" sh -c 'cd /tmp/initrd && cpio -o -H newc --quiet -R 0:0') | zstd -q -19 >"$OUT/initrd.img"
	rm -rf "$at"
}

# pack writes OUT/disk.raw, OUT/vmlinuz, OUT/initrd.img and OUT/manifest.txt from the tree.
pack() {
	stage disk
	dpkg-query --admindir="$tree/var/lib/dpkg" -W -f='${Package} ${Version} ${Architecture}\n' | sort >"$OUT/manifest.txt"
	kernel=$(ls "$tree"/boot/vmlinuz-* | sort -V | tail -n 1)
	cp "$kernel" "$OUT/vmlinuz"
	version=${kernel##*/vmlinuz-}
	if [ -x "$tree/bin/busybox" ]; then small_initrd "$version"; else cp "$tree/boot/initrd.img-$version" "$OUT/initrd.img"; fi
	chmod 644 "$OUT/vmlinuz" "$OUT/initrd.img"
	rm -f "$OUT/disk.raw"
	truncate -s "$SIZE" "$OUT/disk.raw"
	mke2fs -q -F -t ext4 -L rootfs -m 1 -E lazy_itable_init=0,lazy_journal_init=0 -d "$tree" "$OUT/disk.raw"
}
