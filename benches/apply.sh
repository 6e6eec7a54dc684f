#!/usr/bin/env bash
# Measures `wharf apply` beside the plain engine calls for the same work, on one engine, taking turns.
# usage: apply.sh [N...]     (20 containers when told nothing)     RUNS=5  NOOPS=25
#
# From nothing to running: the records exist, the host has no container, bridge or guard.
#   wharf          `wharf apply`
#   wharf, links   the same, where all but four containers are linked to one of the four
#   calls, 1 / 4   create network, then create and start each container; 1 or 4 at a time
# No-op: everything runs; `wharf apply` against one list call. All are whole processes, measured from
# outside; medians, and the least and the most beside them. Needs root (as `make bench` arranges): the
# engine and its network are made for this run and removed after it.
set -euo pipefail
cd "$(dirname "$0")/.."

RUNS=${RUNS:-5}
NOOPS=${NOOPS:-25}
CARGO=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-$PWD/target}

if [ "${1:-}" != --built ]; then
	"$CARGO" build --quiet --release --locked --bin wharf --example floor
	exec ${SUDO:-} env RUNS="$RUNS" NOOPS="$NOOPS" CARGO_TARGET_DIR="$target" "$0" --built "$@"
fi
shift
[ $# -gt 0 ] || set -- 20

PATH=$PATH:/usr/sbin:/sbin
wharf=$target/release/wharf
floor=$target/release/examples/floor
lab=wh-bench-$$
dir=$(mktemp -d "/tmp/$lab.XXXXXX")
export DOCKER_HOST=unix://$dir/docker.sock WHARF_ROOT=$dir/root
unset DBPATH WHARF_STORE ESMITH_ROOT
pids=

clean_up() {
	local pid group mount
	for pid in $pids; do
		kill -KILL "$pid" 2>/dev/null || true
	done
	for group in /sys/fs/cgroup/"$lab" /sys/fs/cgroup/*/"$lab"; do
		[ -d "$group" ] || continue
		find "$group" -name cgroup.procs -exec cat {} + | while read -r pid; do
			kill -KILL "$pid" 2>/dev/null || true
		done
	done
	for pid in /proc/[0-9]*; do
		pid=${pid#/proc/}
		if [ "$pid" != $$ ] && { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF "$dir/"; then
			kill -KILL "$pid" 2>/dev/null || true
		fi
	done
	for pid in $pids; do
		until [ ! -e "/proc/$pid" ] || grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
	done 2>/dev/null
	awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
		umount -l "$mount"
	done
	ip netns del "$lab" 2>/dev/null || true
	for group in /sys/fs/cgroup/"$lab" /sys/fs/cgroup/*/"$lab"; do
		[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
	done
	rm -rf --one-file-system "$dir"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

inside() { nsenter --net="/run/netns/$lab" -- "$@"; }

start_engine() {
	ip netns add "$lab"
	inside ip link set lo up
	mkdir "$WHARF_ROOT"
	cat >"$dir/containerd.toml" <<-TOML
		version = 2
		root = "$dir/containerd-data"
		state = "$dir/containerd"
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		address = "$dir/containerd.sock"
		[ttrpc]
		address = "$dir/containerd.sock.ttrpc"
	TOML
	cat >"$dir/daemon.json" <<-JSON
		{ "hosts": ["$DOCKER_HOST"], "containerd": "$dir/containerd.sock", "data-root": "$dir/data",
		  "exec-root": "$dir/exec", "pidfile": "$dir/dockerd.pid", "bip": "172.31.250.1/24",
		  "cgroup-parent": "/$lab", "exec-opts": ["native.cgroupdriver=cgroupfs"] }
	JSON
	nsenter --net="/run/netns/$lab" -- containerd --config "$dir/containerd.toml" >"$dir/containerd.log" 2>&1 &
	pids="$pids $!"
	nsenter --net="/run/netns/$lab" -- dockerd --config-file "$dir/daemon.json" >"$dir/dockerd.log" 2>&1 &
	pids="$pids $!"
	# Their end is ours to bring about, not bash's to report.
	disown -a
	local try
	for try in $(seq 300); do
		if [ "$(curl -s --unix-socket "$dir/docker.sock" http://engine/_ping || true)" = OK ]; then
			break
		elif [ "$try" = 300 ]; then
			tail -n 20 "$dir/dockerd.log" >&2
			echo "error: the engine did not start" >&2
			exit 1
		fi
		sleep 0.1
	done
	tests/image/build.sh "$dir/image.tar"
	curl -sS --fail --unix-socket "$dir/docker.sock" -X POST --data-binary "@$dir/image.tar" \
		-H 'Content-Type: application/x-tar' -o "$dir/import.json" \
		"http://engine/images/create?fromSrc=-&repo=demo-db&tag=latest&changes=CMD%20%5B%22%2Fbin%2Fdemo-db%22%5D"
}

measure() { # FILE COMMAND...: adds the milliseconds that COMMAND took to FILE
	local file=$1 from to
	shift
	from=$(date +%s%N)
	if ! "$@" >"$dir/output" 2>&1; then
		cat "$dir/output" >&2
		echo "error: failed: $*" >&2
		exit 1
	fi
	to=$(date +%s%N)
	echo $(((to - from) / 1000)) >>"$file"
}

row() { # LABEL FILE: median, least and most in milliseconds
	sort -n "$2" | awk -v label="$1" '{ value[NR] = $1 / 1000 } END {
		median = NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2
		printf "  %-34s %10.1f %10.1f %10.1f\n", label, median, value[1], value[NR] }'
}

records() { # COUNT LINKED: exactly these records, without addresses of a former run
	local number links key
	for key in $(inside "$wharf" db docker_containers keys 2>/dev/null || true); do
		inside "$wharf" db docker_containers delete "$key"
	done
	for number in $(seq 0 $(($1 - 1))); do
		links=
		if [ "$2" = links ] && [ "$number" -ge 4 ]; then
			links="Interlinked $(printf 'box%02d:db' $((number % 4)))"
		fi
		# shellcheck disable=SC2086 # two words or none
		inside "$wharf" db docker_containers set "$(printf 'box%02d' "$number")" service status enabled \
			Image demo-db TCPPort 3306 PortMapping none MaxMemory 64 $links
	done
}

nothing() { # takes everything off the host
	inside "$floor" down
	inside nft delete table inet wharf 2>/dev/null || true
}

start_engine
printf '%s, %s processors, engine %s; milliseconds, medians of %s (no-op: %s)\n' "$(uname -sr)" "$(nproc)" \
	"$(curl -s --unix-socket "$dir/docker.sock" http://engine/version | sed 's/.*"Version":"\([^"]*\)","ApiVersion.*/\1/')" \
	"$RUNS" "$NOOPS"
for count in "$@"; do
	rm -f "$dir"/times-*
	for _ in $(seq "$RUNS"); do
		records "$count" plain
		measure "$dir/times-wharf" inside "$wharf" apply
		nothing
		records "$count" links
		measure "$dir/times-links" inside "$wharf" apply
		nothing
		measure "$dir/times-1" inside "$floor" up "$count" 1 demo-db
		nothing
		measure "$dir/times-4" inside "$floor" up "$count" 4 demo-db
		nothing
	done
	records "$count" links
	inside "$wharf" apply >/dev/null
	for _ in $(seq "$NOOPS"); do
		measure "$dir/times-noop" inside "$wharf" apply
		measure "$dir/times-list" inside "$floor" list
	done
	inside "$floor" count "$dir/count.sock" "$wharf" apply >"$dir/requests"
	nothing

	printf '\n%s containers %36s %10s %10s\n' "$count" median least most
	echo " from nothing to running"
	row "wharf apply" "$dir/times-wharf"
	row "wharf apply, with links" "$dir/times-links"
	row "engine calls, 1 at a time" "$dir/times-1"
	row "engine calls, 4 at a time" "$dir/times-4"
	echo " nothing to do"
	row "wharf apply" "$dir/times-noop"
	row "one list call" "$dir/times-list"
	printf '  requests of a pass without work: %s (%s)\n' "$(wc -l <"$dir/requests")" "$(paste -sd';' "$dir/requests")"
done
