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
}

# pack writes OUT/disk.raw, OUT/vmlinuz, OUT/initrd.img and OUT/manifest.txt from the tree.
pack() {
	stage disk
	dpkg-query --admindir="$tree/var/lib/dpkg" -W -f='${Package} ${Version} ${Architecture}\n' | sort >"$OUT/manifest.txt"
	kernel=$(ls "$tree"/boot/vmlinuz-* | sort -V | tail -n 1)
	cp "$kernel" "$OUT/vmlinuz"
	cp "$tree/boot/initrd.img-${kernel##*/vmlinuz-}" "$OUT/initrd.img"
	chmod 644 "$OUT/vmlinuz" "$OUT/initrd.img"
	rm -f "$OUT/disk.raw"
	truncate -s "$SIZE" "$OUT/disk.raw"
	mke2fs -q -F -t ext4 -L rootfs -m 1 -E lazy_itable_init=0,lazy_journal_init=0 -d "$tree" "$OUT/disk.raw"
}
