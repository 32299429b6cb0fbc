# Installs packages into an unpacked base and packs it. Needs, besides what lib.sh needs: BASE (rootfs.tar.zst), PACKAGES
# (one per line, in a file). Exit status 90: some packages are not in the archive, each on a line "MISSING name".
stage unpack
mkdir "$tree"
zstd -q -d -c "$BASE" | tar --extract --numeric-owner --xattrs --xattrs-include='*' --same-permissions -C "$tree"
enter_tree
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
inside() { chroot "$tree" "$@"; }

stage lists
set -- -o Acquire::Retries=3 -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io \
	-o Dpkg::Options::=--force-confold -o APT::Keep-Downloaded-Packages=true
if [ -n "$PROXY" ]; then set -- "$@" -o "Acquire::http::Proxy=$PROXY"; fi
inside apt-get "$@" -q -o APT::Update::Error-Mode=any update

missing=0
while read -r p; do
	name=${p%%[=/]*}
	if ! inside apt-cache --no-generate show "$name" >/dev/null 2>&1; then
		if ! inside apt-cache showpkg "$name" 2>/dev/null | sed -n '/^Reverse Provides:/,$p' | grep -q ' '; then
			printf 'MISSING %s\n' "$p"
			missing=1
		fi
	fi
done <"$PACKAGES"
[ "$missing" = 0 ] || exit 90

stage install
# What packages merely recommend may be ten times what they need: a compositor's would be a whole desktop.
inside apt-get "$@" -q -y --no-install-recommends install $(cat "$PACKAGES")
leave_tree
seal
pack
