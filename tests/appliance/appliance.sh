# A machine with systemd as its first process, in a directory and namespaces of its own. To be sourced.
#
#   NAME-lan 10.77.0.50 ── lan0 10.77.0.1 ┐
#                                         ├ NAME: systemd, firewalld, dockerd and what the caller adds
#   NAME-wan 198.51.100.50 ── wan0 198.51.100.1 ┘
#
# `root_file_system SUITE FILE` makes and keeps the base, `prepare` and `boot` start one machine of it,
# `power_off` cuts it off, `inside` and `as_service` run something there, `on_lan` and `on_wan` beside it,
# `end_appliance` removes all.
# No route leads out of the namespaces. Needs root, mmdebstrap, systemd-nspawn, ip, nsenter and zstd,
# which `tests/setup.sh appliance` installs.
#
# The caller sets: SUITE (bookworm, trixie), CACHE (a directory for base file systems), MORE (packages of
# the base, after a comma each), and BINDS (options of systemd-nspawn for files of this machine that are to
# be seen inside).
# shellcheck shell=bash disable=SC2154

NAME=wa-$$
MIRROR=${MIRROR:-http://deb.debian.org/debian}
PACKAGES=systemd,systemd-sysv,dbus,polkitd,iproute2,nftables,iptables,curl,ca-certificates,kmod,procps
PACKAGES=$PACKAGES,busybox-static,containerd,runc,firewalld${MORE:-}

fail() { # MESSAGE HINT
	printf 'error: %s\n  hint: %s\n' "$1" "$2" >&2
	exit 1
}

until_true() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# ---- the base

root_file_system() { # SUITE FILE: nothing is done when FILE is there; its name changes with the packages
	local packages=$PACKAGES,docker.io
	# Since trixie the client is a package of its own.
	[ "$1" = bookworm ] || packages=$packages,docker-cli
	[ -e "$2" ] && return
	mkdir -p "$(dirname "$2")"
	mmdebstrap --quiet --variant=minbase --include="$packages" \
		--aptopt='APT::Install-Recommends "false"' "$1" - "$MIRROR" </dev/null | zstd -q -3 -f -o "$2.part"
	mv "$2.part" "$2"
}

base_of() { # SUITE: the file of its base
	local hash
	hash=$(echo "$PACKAGES" | sha256sum | cut -c 1-12)
	echo "$CACHE/$1-$hash.tar.zst"
}

# What a machine gets beside the base. It opens the hierarchies of control groups of version 1, which
# nspawn leaves read-only; systemd 256 and later take these only when told to.
furnish() { # ROOT
	cat >"$1/usr/local/sbin/first" <<-'SH'
		#!/bin/sh
		for group in /sys/fs/cgroup/*/; do
			[ -e "$group/tasks" ] && mount -o remount,bind,rw "$group"
		done 2>/dev/null
		if [ -d /sys/fs/cgroup/systemd ]; then
			mount -o remount,rw /sys/fs/cgroup 2>/dev/null
			set -- SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0
		fi
		exec /lib/systemd/systemd "$@"
	SH
	chmod 755 "$1/usr/local/sbin/first"
	: >"$1/etc/machine-id"
	echo "$NAME" >"$1/etc/hostname"
	echo "127.0.1.1 $NAME" >>"$1/etc/hosts"
}

# ---- its network

connect() {
	local side
	for side in "" -lan -wan; do
		ip netns add "$NAME$side"
		ip -n "$NAME$side" link set lo up
	done
	link lan 10.77.0
	link wan 198.51.100
}

link() { # SIDE NETWORK
	ip link add "${1}0" netns "$NAME" type veth peer name eth0 netns "$NAME-$1"
	ip -n "$NAME" addr add "$2.1/24" dev "${1}0"
	ip -n "$NAME" link set "${1}0" up
	ip -n "$NAME-$1" addr add "$2.50/24" dev eth0
	ip -n "$NAME-$1" link set eth0 up
	ip -n "$NAME-$1" route add default via "$2.1"
}

on_lan() { nsenter --net="/run/netns/$NAME-lan" -- "$@"; }
on_wan() { nsenter --net="/run/netns/$NAME-wan" -- "$@"; }

# ---- its life

# Where this machine has control groups of version 1, the appliance gets its own part of each
# hierarchy: its systemd would else manage all of it. Version 2 is nspawn's business.
own_control_groups() { # PID
	local group
	for group in /sys/fs/cgroup/*/; do
		[ -e "$group/tasks" ] || continue
		mkdir -p "$group/$NAME"
		case $group in
		*cpuset*)
			cat "$group/cpuset.cpus" >"$group/$NAME/cpuset.cpus"
			cat "$group/cpuset.mems" >"$group/$NAME/cpuset.mems"
			;;
		esac
		echo "$1" >"$group/$NAME/cgroup.procs"
	done
}

# shellcheck disable=SC2086 # BINDS is many words
spawn() {
	own_control_groups "$BASHPID"
	local manager=""
	[ -d /run/systemd/system ] || manager="--register=no --keep-unit"
	SYSTEMD_NSPAWN_API_VFS_WRITABLE=network exec systemd-nspawn --quiet --directory="$work/root" \
		--machine="$NAME" --network-namespace-path="/run/netns/$NAME" --console=pipe $manager \
		--kill-signal=SIGRTMIN+3 --capability=all --system-call-filter='add_key keyctl bpf' \
		$BINDS /usr/local/sbin/first
}

prepare() { # unpacks a machine into $work/root
	local base
	base=$(base_of "$SUITE")
	# Not below /tmp, which may be memory.
	work=$(mktemp -d "/var/tmp/$NAME.XXXXXX")
	trap end_appliance EXIT
	trap 'exit 1' INT TERM
	mkdir "$work/root"
	# Not by a pipe of ours: tar stops reading at the end of the archive, before that of the file.
	tar --zstd --numeric-owner -C "$work/root" -xf "$base"
	furnish "$work/root"
}

boot() {
	connect
	power_on
	is_up
}

power_on() {
	(spawn) >>"$work/console" 2>&1 </dev/null &
	nspawn=$!
}

is_up() {
	until_true 120 settled || fail "the appliance did not come up; its systemd says '$(state)'" \
		"$(tail -n 5 "$work/console"; echo; echo "  mounts, namespaces and control groups are needed, as root")"
}

# Its first process is killed, and everything in it dies. The namespaces go too: they would keep the rules.
power_off() {
	local pid group side
	if [ -n "${nspawn:-}" ]; then
		pid=$(first_process)
		[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
		wait "$nspawn" 2>/dev/null || true
		nspawn=
	fi
	for side in "" -lan -wan; do
		ip netns del "$NAME$side" 2>/dev/null || true
	done
	for group in /sys/fs/cgroup/*/"$NAME"; do
		[ -d "$group" ] || continue
		until_true 5 group_removed "$group" || echo "left behind: $group" >&2
	done
}

first_process() { pgrep -P "$nspawn" 2>/dev/null | head -n 1; }

state() {
	local pid
	pid=$(first_process)
	[ -n "$pid" ] && nsenter --target "$pid" --all systemctl is-system-running 2>/dev/null
}

settled() {
	case $(state) in
	running | degraded) return 0 ;;
	*) return 1 ;;
	esac
}

inside() { nsenter --target "$(first_process)" --all -- "$@"; }

# As a service of the appliance's systemd, in a control group of its own.
as_service() {
	inside systemd-run --quiet --pipe --wait --collect --property=Delegate=yes -- "$@"
}

end_appliance() {
	trap - EXIT
	[ -z "${probe_wan:-}" ] || end_probes
	power_off
	if [ -n "${APPLIANCE_LOGS:-}" ]; then
		mkdir -p "$APPLIANCE_LOGS"
		find "$work" -maxdepth 1 -type f -exec cp -t "$APPLIANCE_LOGS" {} +
	fi
	rm -rf --one-file-system "$work"
}

group_removed() {
	find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -d "$1" ]
}
