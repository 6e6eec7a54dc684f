#!/usr/bin/env bash
# The service for a long time: many containers, a change each so often, and an engine that is restarted.
# usage: soak.sh SECONDS [bookworm|trixie]
#
# Prints a line a minute: memory and open files of wharfd, containers that run. Fails when something is not as
# desired at the end, when memory grew since the first quarter, or when files are left open. By hand, as root.
#
#   CONTAINERS=50        how many
#   CHURN=60             seconds between two changes of a record
#   RESTART=3600         seconds between two restarts of the engine
#   GROWTH=1024          kB that memory may grow between the end of the first quarter and the end
#   BUILT=DIRECTORY      the programs (the debug build)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
LENGTH=${1:?usage: soak.sh SECONDS [bookworm|trixie]}
SUITE=${2:-bookworm}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$source_dir/target}
CACHE=${APPLIANCE_CACHE:-$CARGO_TARGET_DIR/appliance}
MORE=,apache2
BINDS=
CONTAINERS=${CONTAINERS:-50} CHURN=${CHURN:-60} RESTART=${RESTART:-3600} GROWTH=${GROWTH:-1024}

# shellcheck source=tests/appliance/appliance.sh
. "$here/appliance.sh"
# shellcheck source=tests/appliance/installed.sh
. "$here/installed.sh"
# shellcheck source=tests/appliance/pair.sh
. "$here/pair.sh"
# shellcheck source=tests/appliance/removed.sh
. "$here/removed.sh"

many() {
	local number
	images
	inside config set docker service Subnet 10.0.96.0/20
	for ((number = 1; number <= CONTAINERS; number++)); do
		record "soak$number" demo-web TCPPort 80 PortMapping custom PortMappingPorts "$((9000 + number)):80" access private MaxMemory 64
	done
	inside signal-event docker-update >>"$work/log" 2>&1 || broken "signal-event docker-update failed"
	must "not as desired" until_true 120 as_desired
	say "$CONTAINERS containers run"
}

# Kinds of change in their turn: a limit as it runs, the guard, a container made anew, a stop and a start.
change() { # ROUND
	local name=soak$((RANDOM % CONTAINERS + 1))
	case $(($1 % 4)) in
	0) inside db docker_containers setprop "$name" MaxMemory $((64 + $1 % 64)) ;;
	1) inside db docker_containers setprop "$name" access public ;;
	2) inside db docker_containers setprop "$name" Env_ROUND "$1" ;;
	3)
		inside db docker_containers setprop "$name" status disabled
		sleep 5
		inside db docker_containers setprop "$name" status enabled
		;;
	esac
}

service_process() { inside systemctl show -P MainPID wharfd; }
# shellcheck disable=SC2016 # for awk
memory() { inside awk '/^VmRSS/ { print $2 }' "/proc/$(service_process)/status"; }
open_files() { inside sh -c "ls /proc/$(service_process)/fd | wc -l"; }
running() { engine http://engine/containers/json | grep -o '"Id":' | wc -l; }

first_machine
installed
many
begun=$SECONDS round=0 restarted=$SECONDS restarts=0 early='' told=-60
process=$(service_process)
files=$(open_files)
while [ $((SECONDS - begun)) -lt "$LENGTH" ]; do
	round=$((round + 1))
	change "$round"
	if [ $((SECONDS - restarted)) -ge "$RESTART" ]; then
		inside systemctl restart docker
		restarted=$SECONDS restarts=$((restarts + 1))
	fi
	if [ -z "$early" ] && [ $((SECONDS - begun)) -ge $((LENGTH / 4)) ]; then
		early=$(memory)
	fi
	if [ $((SECONDS - told)) -ge 60 ]; then
		told=$SECONDS
		say "change $round, restarts $restarts: $(memory) kB, $(open_files) open files, $(running) run"
	fi
	sleep "$CHURN"
done
must "not as desired at the end" until_true 180 as_desired
[ "$(running)" = "$CONTAINERS" ] || broken "$(running) of $CONTAINERS run"
[ "$(service_process)" = "$process" ] || broken "wharfd is not the process that it was"
# A pass that has just ended is still in memory.
sleep 30
late=$(memory)
files_are_closed() { [ "$(open_files)" -le $((files + 1)) ]; }
until_true 30 files_are_closed || broken "$(open_files) open files, $files at the beginning"
[ $((late - early)) -le "$GROWTH" ] || broken "memory grew from $early to $late kB"
say "$round changes, $restarts restarts of the engine: as desired; memory $early, $late kB; open files $files, $(open_files)"
