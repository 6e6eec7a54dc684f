#!/usr/bin/env bash
# The service on a machine of its own: limits that the kernel holds, and a power cut that costs what was not on disk.
# usage: machine.sh [bookworm|trixie]
#
# Boots a Debian under emulation (emulated.sh), in which `make install` has installed a release build, and goes
# through what the namespaces of service.sh cannot show: control groups of version 2 and a disk. Each step asserts
# and is a line with the seconds since the beginning. By hand, as root, on an idle machine: it takes about ten minutes.
#
#   BUILT=DIRECTORY      the programs (the release build)
#   APPLIANCE_LOGS=DIR   where logs are left; MIRROR is Debian's
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
SUITE=${1:-bookworm}
case $SUITE in
bookworm | trixie) ;;
*)
	echo "usage: machine.sh [bookworm|trixie]" >&2
	exit 2
	;;
esac
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$source_dir/target}
CACHE=${APPLIANCE_CACHE:-$CARGO_TARGET_DIR/appliance}
MORE=,apache2
BINDS=
# Seconds for what a machine of its own speed does in one.
PATIENCE=300

# shellcheck source=tests/appliance/appliance.sh
. "$here/appliance.sh"
# shellcheck source=tests/appliance/emulated.sh
. "$here/emulated.sh"
# shellcheck source=tests/appliance/installed.sh
. "$here/installed.sh"
# shellcheck source=tests/appliance/pair.sh
. "$here/pair.sh"
# shellcheck source=tests/appliance/unplugged.sh
. "$here/unplugged.sh"

machine_with_wharf() {
	local base
	base=$(base_of "$SUITE")
	[ -e "$base" ] || echo "making a root file system of $SUITE"
	root_file_system "$SUITE" "$base"
	prepare
	furnish_more
	make --no-print-directory -s -C "$source_dir" install BUILT="${BUILT:-$CARGO_TARGET_DIR/release}" DESTDIR="$work/root"
	echo 'WHARF_ENGINE_TIMEOUT=120' >>"$work/root/etc/sysconfig/wharf"
	systemd-sysusers --root="$work/root"
	systemctl --root="$work/root" --quiet preset wharf-guard wharf-guard-iptables wharfd
	boot
	must "Docker does not answer" until_true 120 answers
	must "wharfd does not run" until_true 60 inside systemctl --quiet is-active wharfd
	say "booted: $(inside uname -r), $(inside dockerd --version | sed 's/,.*//'), control groups: $(inside stat -f -c %T /sys/fs/cgroup)"
}

answers() { engine -o /dev/null http://engine/_ping 2>/dev/null; }

in_use() {
	pair
	record eater demo-web MaxMemory 32 Command "tail /dev/zero"
	inside signal-event docker-update >>"$work/log" 2>&1 || true
	must "not everybody is in who should be" until_true 180 all_are_in
	must "somebody is in who should not be" all_are_out
	must "the web page does not show its database" until_true 60 page database.txt "demo-db ready"
	say "a linked pair runs; LAN in, Internet out, Apache serves /blog"
}

# What the kernel holds a container to, not what the engine says.
limited() {
	[ "$(group mysql memory.max)" = $((64 << 20)) ] || broken "memory.max of mysql is $(group mysql memory.max)"
	[ "$(group wordpress memory.max)" = $((128 << 20)) ] || broken "memory.max of wordpress is $(group wordpress memory.max)"
	must "nothing says that eater was ended for its memory" until_true 120 was_eaten
	must "mysql does not run beside it" database_is_in
	inside db docker_containers setprop mysql MaxMemory 80
	inside signal-event docker-update >>"$work/log" 2>&1 || true
	must "memory.max of mysql is not 80 MiB" until_true 60 is_group mysql memory.max $((80 << 20))
	inside db docker_containers set eater service status disabled
	inside signal-event docker-update >>"$work/log" 2>&1 || broken "signal-event docker-update failed"
	must "wharf status is not 0" until_true 60 as_desired
	say "the kernel holds each to its memory; who eats more is ended alone, and wharf why says it"
}

group() { # NAME FILE: of the container's control group
	local id
	id=$(engine "http://engine/containers/$1/json" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Id"])')
	inside cat "/sys/fs/cgroup/system.slice/docker-$id.scope/$2"
}

is_group() { [ "$(group "$1" "$2")" = "$3" ]; }

was_eaten() { inside wharf why eater 2>/dev/null | tee "$work/why" | grep -qi 'memory'; }

machine_with_wharf
in_use
limited
all_ids >"$work/ids"
unplugged
