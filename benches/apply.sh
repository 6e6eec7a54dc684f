#!/usr/bin/env bash
# Measures `wharf apply` beside the plain engine calls for the same work, on one engine, taking turns.
# usage: apply.sh [N...]     (1 10 50 200 containers when told nothing)     RUNS=5  NOOPS=25
#
# From nothing to running: the records exist, the host has no container, bridge or guard.
#   wharf          `wharf apply`
#   wharf, links   the same, where all but four containers are linked to one of the four
#   calls, 1 to 16 create network, then create and start each container; that many at a time
# One changed: one record is. The calls stop, remove, create and start its container and are done; wharf
#   starts the new one before the old one goes, and has seen it answer at its port when it is done.
# All stopped: every record is disabled; the calls are 4, 8 and 16 stops at a time. With links the guard closes
#   them meanwhile.
# No-op: everything runs; `wharf apply` against one list call, and against one by a client that asks for
#   the engine's version first, as docker and compose do.
# All are whole processes, measured from outside; medians, and the least and the most beside them, and
# how many times the best calls it is. Needs root (as `make bench` arranges): the engine and its network
# are made for this run and removed after it.
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
[ $# -gt 0 ] || set -- 1 10 50 200

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
	# As on a host, what does not outlive a boot is in memory.
	mkdir -p "$WHARF_ROOT/run"
	mount -t tmpfs "$lab" "$WHARF_ROOT/run"
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

measure() { # FILE COMMAND...: adds what COMMAND took to FILE
	if ! inside "$floor" time "$@" >"$dir/output" 2>&1; then
		cat "$dir/output" >&2
		echo "error: failed: $*" >&2
		exit 1
	fi
}

median() { # FILE
	sort -n "$1" | awk '{ value[NR] = $1 / 1000 } END {
		print NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'
}

best() { # FILE...: the least of the medians
	for file in "$@"; do median "$file"; done | sort -n | head -n 1
}

row() { # LABEL FILE [FLOOR]: median, least and most in milliseconds; how many times the floor
	sort -n "$2" | awk -v label="$1" -v median="$(median "$2")" -v floor="${3:-0}" '{ value[NR] = $1 / 1000 } END {
		times = floor > 0 ? sprintf("%9.2f", median / floor) : ""
		printf "  %-34s %10.1f %10.1f %10.1f %s\n", label, median, value[1], value[NR], times }'
}

records() { # COUNT LINKED: exactly these records, without addresses of a former run
	local number links key
	for key in $(inside "$wharf" db docker_containers keys 2>/dev/null || true); do
		# One after the other, so there are links that lead nowhere.
		inside "$wharf" db docker_containers delete "$key" 2>/dev/null
	done
	for number in $(seq 0 $(($1 - 1))); do
		links=
		if [ "$2" = links ] && [ "$number" -ge 4 ]; then
			links="Interlinked $(printf 'box%02d:db' $((number % 4)))"
		fi
		# shellcheck disable=SC2086 # two words or none
		inside "$wharf" db docker_containers set "$(printf 'box%02d' "$number")" service status enabled \
			Image demo-db TCPPort 3306 PortMapping none MaxMemory 16 $links
	done
}

nothing() { # takes everything off the host
	inside "$floor" down
	inside nft delete table inet wharf 2>/dev/null || true
}

all_are() { # STATUS
	local key
	for key in $(inside "$wharf" db docker_containers keys); do
		inside "$wharf" db docker_containers setprop "$key" status "$1" 2>/dev/null
	done
}

at_once() { # COUNT NUMBER...: those that make a difference, up to the first that is all of COUNT
	local count=$1 number
	shift
	for number in "$@"; do
		echo "$number"
		[ "$number" -lt "$count" ] || break
	done
}

from_nothing() { # COUNT
	local at_a_time
	records "$1" plain
	measure "$dir/times-wharf" "$wharf" apply
	nothing
	records "$1" links
	measure "$dir/times-links" "$wharf" apply
	nothing
	for at_a_time in $(at_once "$1" 1 4 8 16); do
		# One by one takes its time, and is never the best of many.
		[ "$1" -le 10 ] || [ "$at_a_time" -gt 1 ] || continue
		measure "$dir/times-up-$at_a_time" "$floor" up "$1" "$at_a_time" demo-db
		nothing
	done
}

one_changed() { # COUNT RUN
	inside "$wharf" db docker_containers setprop "$(printf 'box%02d' $(($1 - 1)))" MaxMemory $((16 + $2))
	measure "$dir/times-changed" "$wharf" apply
	# One of its own, beside those of the records: it is there from the second time on.
	[ "$2" -gt 1 ] || inside "$floor" change 200 demo-db
	measure "$dir/times-change" "$floor" change 200 demo-db
}

stopped() { # FILE: the container of each record runs before and after
	all_are disabled
	measure "$1" "$wharf" apply
	all_are enabled
	inside "$wharf" apply >/dev/null
}

all_stopped() { # COUNT: the records have no links
	local at_a_time
	stopped "$dir/times-stopped"
	for at_a_time in $(at_once "$1" 4 8 16); do
		measure "$dir/times-stop-$at_a_time" "$floor" stop "$at_a_time"
		# By the engine: wharf would take them for containers that end again and again.
		inside "$floor" start 8
	done
}

no_op() {
	measure "$dir/times-noop" "$wharf" apply
	measure "$dir/times-list" "$floor" list
	measure "$dir/times-greet" "$floor" greet
}

resident() { # what the daemon holds after its first passes, in MiB
	local pid
	nsenter --net="/run/netns/$lab" -- "$wharf" daemon >"$dir/daemon.log" 2>&1 &
	pid=$!
	pids="$pids $pid"
	disown -a
	sleep "${DAEMON_SECONDS:-10}"
	awk '/^VmHWM/ { most = $2 } /^VmRSS/ { now = $2 } END { printf "%.1f (at most %.1f)", now / 1024, most / 1024 }' \
		"/proc/$pid/status"
	kill -TERM "$pid"
	while [ -e "/proc/$pid" ]; do sleep 0.05; done
}

start_engine
printf '%s, %s processors, engine %s; milliseconds, medians of %s (no-op: %s)\n' "$(uname -sr)" "$(nproc)" \
	"$(curl -s --unix-socket "$dir/docker.sock" http://engine/version | sed 's/.*"Version":"\([^"]*\)","ApiVersion.*/\1/')" \
	"$RUNS" "$NOOPS"
for count in "$@"; do
	rm -f "$dir"/times-*
	for _ in $(seq "$RUNS"); do
		from_nothing "$count"
	done
	records "$count" links
	inside "$wharf" apply >/dev/null
	for _ in $(seq "$NOOPS"); do
		no_op
	done
	inside "$floor" count "$dir/count.sock" "$wharf" apply >"$dir/requests"
	daemon=$(resident)
	for run in $(seq "$RUNS"); do
		one_changed "$count" "$run"
	done
	curl -sS --fail --unix-socket "$dir/docker.sock" -X DELETE "http://engine/containers/box200?force=true"
	for _ in $(seq "$RUNS"); do
		stopped "$dir/times-stopped-links"
	done
	records "$count" plain
	inside "$wharf" apply >/dev/null
	for _ in $(seq "$RUNS"); do
		all_stopped "$count"
	done
	nothing

	printf '\n%s containers %36s %10s %10s %9s\n' "$count" median least most times
	echo " from nothing to running"
	floor_of=$(best "$dir"/times-up-*)
	row "wharf apply" "$dir/times-wharf" "$floor_of"
	row "wharf apply, with links" "$dir/times-links" "$floor_of"
	for file in $(printf '%s\n' "$dir"/times-up-* | sort -V); do
		row "engine calls, ${file##*-} at a time" "$file"
	done
	echo " one changed"
	row "wharf apply" "$dir/times-changed" "$(median "$dir/times-change")"
	row "stop, remove, create, start" "$dir/times-change"
	echo " all stopped"
	floor_of=$(best "$dir"/times-stop-*)
	row "wharf apply" "$dir/times-stopped" "$floor_of"
	row "wharf apply, with links" "$dir/times-stopped-links" "$floor_of"
	for file in $(printf '%s\n' "$dir"/times-stop-* | sort -V); do
		row "engine calls, ${file##*-} at a time" "$file"
	done
	echo " nothing to do"
	row "wharf apply" "$dir/times-noop" "$(median "$dir/times-list")"
	row "one list call" "$dir/times-list"
	row "version and list" "$dir/times-greet" "$(median "$dir/times-list")"
	printf '  requests of a pass without work: %s (%s)\n' "$(wc -l <"$dir/requests")" "$(paste -sd';' "$dir/requests")"
	awk '$2 > most { most = $2 } END { printf "  resident MiB of such a pass, at most: %.1f\n", most / 1024 }' "$dir/times-noop"
	echo "  resident MiB of the daemon: $daemon"
done
