#!/usr/bin/env bash
# Puts the built program and all that belongs to it into its places, or takes it away again.
# usage: install.sh BUILD [DESTDIR]        BUILD holds the programs wharf and db
#        install.sh --remove [DESTDIR]
#
# The places come from the environment, as the Makefile sets them. A file of settings that is there stays,
# and is never removed. What was installed is listed in DATADIR/wharf/manifest: that is what is removed, whatever
# this version would install, and what the next one does not install any more goes when it comes.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$1
dest=${2:-}
manifest=$DATADIR/wharf/manifest

put() { # MODE FILE PATH
	install -D -m "$1" "$2" "$dest$3"
}

# The path of each thing, and what makes it; `$1` is called with both.
each() {
	local do=$1 page file name
	"$do" "$SBINDIR/wharf" put 0755 "$build/wharf"
	"$do" "$SBINDIR/wharfd" link wharf
	"$do" "$TOOLDIR/db" put 0755 "$build/db"
	"$do" "$TOOLDIR/config" link db
	for name in expand-template signal-event initialize-default-databases; do
		"$do" "$TOOLDIR/$name" link "$(realpath -ms --relative-to="$TOOLDIR" "$SBINDIR/wharf")"
	done
	for file in wharfd.service wharf-guard.service wharf-guard-iptables.service \
		wharf-reconcile.service wharf-reconcile.timer; do
		"$do" "$UNITDIR/$file" unit "systemd/$file"
	done
	# openSUSE's rc link: its service(8) leads to systemctl.
	if [ -n "${RCLINKS:-}" ]; then
		"$do" "$SBINDIR/rcwharfd" link service
	fi
	"$do" "$PRESETDIR/90-wharf.preset" put 0644 systemd/90-wharf.preset
	"$do" "$TMPFILESDIR/wharf.conf" put 0644 systemd/wharf.tmpfiles
	"$do" "$SYSUSERSDIR/wharf.conf" put 0644 systemd/wharf.sysusers
	"$do" "$DATADIR/dbus-1/system.d/io.github.wharfd.Manager1.conf" put 0644 systemd/io.github.wharfd.Manager1.conf
	"$do" "$DATADIR/dbus-1/system-services/io.github.wharfd.Manager1.service" put 0644 systemd/io.github.wharfd.Manager1.service
	"$do" "$DATADIR/polkit-1/actions/io.github.wharfd.policy" put 0644 systemd/io.github.wharfd.policy
	"$do" "$DATADIR/polkit-1/rules.d/50-wharf.rules" put 0644 systemd/50-wharf.rules
	for file in $(find templates db-schema -type f | LC_ALL=C sort); do
		"$do" "$DATADIR/wharf/$file" put 0644 "$file"
	done
	"$do" "$DOCDIR/wharfd-esmith.conf" put 0644 systemd/wharfd-esmith.conf
	for page in wharf.8 wharfd.8 expand-template.8 signal-event.8 initialize-default-databases.8 wharf-records.5 db.1 config.1; do
		"$do" "$MANDIR/man${page##*.}/$page" of_program 0644 manual "$page"
	done
	"$do" "$DATADIR/bash-completion/completions/wharf" of_program 0644 completion bash
	for name in db config signal-event; do
		"$do" "$DATADIR/bash-completion/completions/$name" link wharf
	done
	"$do" "$DATADIR/zsh/site-functions/_wharf" of_program 0644 completion zsh
	"$do" "$DATADIR/fish/vendor_completions.d/wharf.fish" of_program 0644 completion fish
	for file in README.md CHANGELOG.md docs/*.md; do
		"$do" "$DOCDIR/${file##*/}" put 0644 "$file"
	done
}

install_one() { # PATH HOW ARGUMENT...
	local path=$1 how=$2
	shift 2
	case $how in
	put) put "$1" "$2" "$path" ;;
	link)
		mkdir -p "$dest${path%/*}"
		ln -sfn "$1" "$dest$path"
		;;
	unit)
		mkdir -p "$dest${path%/*}"
		sed "s|/usr/sbin/wharf|$SBINDIR/wharf|" "$1" >"$dest$path"
		chmod 0644 "$dest$path"
		;;
	of_program)
		mkdir -p "$dest${path%/*}"
		"$build/wharf" "${@:2}" >"$dest$path"
		chmod "$1" "$dest$path"
		;;
	esac
}

list_one() { # PATH ...
	echo "$1"
}

# Removes the files whose paths it reads.
remove_listed() {
	local path
	while IFS= read -r path; do
		case $path in
		*/../* | */..) echo "warning: $path of $manifest is not removed" >&2 ;;
		/*) rm -f "$dest$path" ;;
		esac
	done
}

if [ "$build" = --remove ]; then
	if [ -e "$dest$manifest" ]; then
		remove_listed <"$dest$manifest"
		rm -f "$dest$manifest"
	else
		# Installed by a version that wrote no list.
		each list_one | remove_listed
	fi
	for directory in "$DATADIR/wharf" "$DOCDIR"; do
		[ ! -d "$dest$directory" ] || find "$dest$directory" -depth -type d -empty -delete
	done
	exit 0
fi
for program in wharf db; do
	if [ ! -x "$build/$program" ]; then
		echo "error: $build/$program is not there" >&2
		echo "  hint: make build" >&2
		exit 1
	fi
done
each install_one
each list_one | LC_ALL=C sort >"$dest$manifest.new"
if [ -e "$dest$manifest" ]; then
	LC_ALL=C comm -23 "$dest$manifest" "$dest$manifest.new" | remove_listed
fi
chmod 0644 "$dest$manifest.new"
mv "$dest$manifest.new" "$dest$manifest"
if [ ! -e "$dest$SYSCONFDIR/sysconfig/wharf" ]; then
	put 0644 sysconfig/sysconfig.wharf "$SYSCONFDIR/sysconfig/wharf"
fi
