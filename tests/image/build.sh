#!/bin/sh
# Writes the root file system of the images demo-web and demo-db as a tar file: a static busybox and
# the programs beside this script.
# usage: build.sh FILE.tar
set -eu
out=${1:?usage: build.sh FILE.tar}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/var/www" "$root/srv/www"
chmod 755 "$root"
chmod 1777 "$root/tmp"
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"

PATH=$PATH:/usr/sbin:/sbin
for found in "${BUSYBOX:-}" /bin/busybox /usr/bin/busybox-static /usr/bin/busybox /usr/sbin/busybox /sbin/busybox; do
	[ -x "$found" ] || continue
	cp "$found" "$root/bin/busybox"
	# Alone in a directory, only a static one runs; without the right to chroot the file is taken as it is.
	if [ "$(id -u)" != 0 ] || chroot "$root" /bin/busybox true 2>/dev/null; then
		break
	fi
	rm -f "$root/bin/busybox"
done
if [ ! -x "$root/bin/busybox" ]; then
	echo "error: no static busybox was found" >&2
	echo "  hint: tests/setup.sh installs one; or set BUSYBOX=FILE" >&2
	exit 1
fi
"$root/bin/busybox" --list | while read -r applet; do
	[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
cp "$here/demo-web" "$here/demo-db" "$here/demo-db-answer" "$root/bin/"
chmod 755 "$root/bin/demo-web" "$root/bin/demo-db" "$root/bin/demo-db-answer"
tar -C "$root" --owner=0 --group=0 -cf "$out" .
