# Builds a Debian tree with mmdebstrap and packs it. Needs, besides what lib.sh needs:
# SUITE, ARCH, INCLUDE (comma separated), SOURCES (file of one-line apt sources, for the build and the guest), KEYRING,
# CONFIG (folder of files for the guest), MASK (file with a unit a line). PROXY may be empty.
stage packages
mkdir -p "$DEBS/partial"
export DEBS CONFIG
# The guest's configuration comes twice: before the packages are configured, for initramfs-tools; and last, for the rest.
set -- --mode=root --format=directory --variant=minbase --architectures="$ARCH" --include="$INCLUDE" \
	--keyring="$KEYRING" --dpkgopt=force-unsafe-io --aptopt='Acquire::Retries "3"' \
	--skip=chroot/mount/sys --skip=essential/unlink \
	--setup-hook='mkdir -p "$1/var/cache/apt/archives/partial"; find "$DEBS" -maxdepth 1 -name "*.deb" -exec ln -t "$1/var/cache/apt/archives/" {} +' \
	--essential-hook='cp -R --no-preserve=ownership "$CONFIG/." "$1/"' \
	--customize-hook='find "$1/var/cache/apt/archives" -maxdepth 1 -name "*.deb" -exec ln -f -t "$DEBS/" {} +'
if [ -n "$PROXY" ]; then set -- "$@" --aptopt="Acquire::http::Proxy \"$PROXY\""; fi
mmdebstrap "$@" "$SUITE" "$tree" "$SOURCES"

stage configure
rm -f "$tree"/etc/apt/sources.list.d/*.list "$tree"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$tree"/etc/apt/apt.conf.d/99mmdebstrap
rm -f "$tree/etc/apt/sources.list" "$tree/etc/hostname"
cp -R --no-preserve=ownership --remove-destination "$CONFIG/." "$tree/"
cat "$SOURCES" >"$tree/etc/apt/sources.list"
while read -r unit; do
	ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done <"$MASK"
if [ -e "$tree/lib/systemd/systemd-resolved" ]; then
	ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
fi
# pam_motd starts four programs for each login, commands too, to print what uname says.
rm -rf "$tree/etc/update-motd.d"
sed -i 's/^root:[^:]*:/root:!*:/' "$tree/etc/shadow"
seal
stage archive
tar --create --numeric-owner --xattrs --xattrs-include='*' --one-file-system -C "$tree" . | zstd -q -1 -T0 -o "$OUT/rootfs.tar.zst"
pack
