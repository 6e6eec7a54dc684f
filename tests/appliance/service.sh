#!/usr/bin/env bash
# The service on a booted machine: installed, used, cut off, upgraded, attacked and removed.
# usage: service.sh [bookworm|trixie]
#
# Boots a Debian, installs what `make install` installs, and goes through what an administrator, a power
# cut and a hostile user may do. Each step asserts, and is a line with the seconds since the beginning; the
# first that fails ends it with status 1. `tests/setup.sh test` installs what it needs. Needs root.
#
#   NEXT=DIRECTORY       programs of a later version, for the upgrade (made when missing: tests/appliance/next.sh)
#   KILLS=50             how often wharfd is killed in the middle of a pass
#   HAMMER_SECONDS=60    how long twenty clients use D-Bus at a time
#   SIGNALS=300          events that are signalled at once
#   STEPS="..."          those of the list at the end that are wanted, for one who works at a step
#   APPLIANCE_LOGS=DIR   where logs are left; MIRROR is Debian's
#
# A step is a function: what wharfd does in its confinement is in confined.sh, the power cut in unplugged.sh, the bus in callers.sh,
# e-smith's files and legacy iptables in esmith.sh, the removal in removed.sh.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
SUITE=${1:-bookworm}
case $SUITE in
bookworm | trixie) ;;
*)
	echo "usage: service.sh [bookworm|trixie]" >&2
	exit 2
	;;
esac
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$source_dir/target}
CACHE=${APPLIANCE_CACHE:-$CARGO_TARGET_DIR/appliance}
MORE=,apache2
BINDS=
NEXT=${NEXT:-$CACHE/next}
KILLS=${KILLS:-50}
HAMMER_SECONDS=${HAMMER_SECONDS:-60}
SIGNALS=${SIGNALS:-300}

# shellcheck source=tests/appliance/appliance.sh
. "$here/appliance.sh"
# shellcheck source=tests/appliance/installed.sh
. "$here/installed.sh"
# shellcheck source=tests/appliance/pair.sh
. "$here/pair.sh"
# shellcheck source=tests/appliance/confined.sh
. "$here/confined.sh"
# shellcheck source=tests/appliance/unplugged.sh
. "$here/unplugged.sh"
# shellcheck source=tests/appliance/callers.sh
. "$here/callers.sh"
# shellcheck source=tests/appliance/esmith.sh
. "$here/esmith.sh"
# shellcheck source=tests/appliance/removed.sh
. "$here/removed.sh"

in_use() {
	pair
	inside signal-event docker-update >>"$work/log" 2>&1 || broken "signal-event docker-update failed"
	must "not everybody is in who should be" until_true 60 all_are_in
	must "somebody is in who should not be" all_are_out
	must "the web page does not show its database" until_true 30 page database.txt "demo-db ready"
	must "wharf status is not 0" until_true 30 as_desired
	all_ids >"$work/ids"
	say "a linked pair runs; LAN in, Internet out, Apache serves /blog"
}

# ---- what an administrator does

# Told by itself; enabled again by the confined wharfd where the record says so.
unit_disabled() {
	inside systemctl --quiet disable wharf-guard
	inside wharf status >"$work/status" 2>&1 || true
	grep -qF "wharf-guard.service is disabled" "$work/status" || broken "a guard that does not begin with the machine is not told"
	inside config set docker service DriftUnits repair
	must "the unit of the guard is not enabled again" until_true 30 inside systemctl --quiet is-enabled wharf-guard
	inside config delete docker
	say "the guard's unit was disabled: told, and enabled again where DriftUnits says so"
}

upgraded() {
	local before after
	before=$(version)
	install_wharf "$NEXT"
	inside systemctl restart wharfd
	after=$(version)
	[ "$before" != "$after" ] || broken "wharfd has the version that it had: $after"
	must "wharf status is not 0 after the upgrade" until_true 30 as_desired
	must "an upgrade made a container anew" same_ids
	must "not everybody is in" all_are_in
	say "upgraded from $before to $after and restarted: no container was touched"
}

version() {
	# shellcheck disable=SC2086 # many words
	inside busctl get-property $BUS Version | tr -d '"' | cut -d ' ' -f 2
}

firewalld_and_flush() {
	local begun
	inside systemctl start firewalld
	for kind in --permanent ""; do
		# shellcheck disable=SC2086 # an option or none
		inside firewall-cmd --quiet $kind --zone=trusted --change-interface=lan0
		# shellcheck disable=SC2086
		inside firewall-cmd --quiet $kind --zone=public --change-interface=wan0
	done
	must "a port is open beside firewalld" all_are_out
	# Docker listens to a firewalld that was there before it; wharfd's warning says the same.
	inside systemctl restart docker
	must "not everybody is in beside firewalld" until_true 60 all_are_in
	must "firewalld opens a port" all_are_out
	inside firewall-cmd --quiet --reload
	must "not everybody is in after a reload of firewalld" until_true 60 all_are_in
	must "a reload of firewalld opens a port" all_are_out
	say "firewalld was started and reloaded"
	begun=$(date +%s%N)
	inside nft flush ruleset
	until_true 10 inside nft list table inet wharf >/dev/null 2>&1 || broken "the guard does not come back after nft flush ruleset"
	say "nft flush ruleset: the guard is back after $((($(date +%s%N) - begun) / 1000000)) ms"
	inside systemctl stop firewalld
	inside systemctl restart docker
	must "not everybody is in without firewalld" until_true 60 all_are_in
	must "a port is open without firewalld" all_are_out
	all_ids >"$work/ids"
}

# ---- what must not be lost

# The records change in between, so that each pass has something else to do: a limit, the guard, a new container.
killed() {
	local round pid hits=0
	mkdir -p "$work/root/run/systemd/system/wharfd.service.d"
	inside sh -c 'mkdir -p /run/systemd/system/wharfd.service.d
		printf "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=100ms\n" >/run/systemd/system/wharfd.service.d/quick.conf
		systemctl daemon-reload'
	for ((round = 1; round <= KILLS; round++)); do
		case $((round % 3)) in
		0) inside db docker_containers setprop site MaxMemory $((64 + round)) ;;
		1) inside db docker_containers setprop site access "$([ $((round % 2)) = 0 ] && echo public || echo private)" ;;
		2) inside db docker_containers setprop site Env_ROUND "$round" ;;
		esac
		until_true 20 inside systemctl --quiet is-active wharfd || broken "wharfd was not started again"
		inside systemctl kill --kill-whom=main -s HUP wharfd
		until_true 5 in_a_pass && hits=$((hits + 1))
		sleep "0.$((RANDOM % 5))"
		pid=$(inside systemctl show -P MainPID wharfd)
		[ "$pid" = 0 ] || inside kill -KILL "$pid" 2>/dev/null || true
	done
	inside db docker_containers setprop site access public MaxMemory 96 Env_ROUND last
	inside rm -r /run/systemd/system/wharfd.service.d
	inside systemctl daemon-reload
	inside systemctl restart wharfd
	until_true 60 as_desired || {
		inside wharf status >&2 || true
		broken "not as desired after $KILLS kills"
	}
	must "the last change is lost" limit_is site $((96 << 20))
	must "something is left behind" until_true 30 nothing_else
	must "not everybody is in" until_true 30 all_are_in
	must "somebody is in" all_are_out
	all_ids >"$work/ids"
	say "wharfd was killed $KILLS times, $hits of them in a pass: all as the records say"
}

in_a_pass() {
	# shellcheck disable=SC2016 # for the shell inside
	inside sh -c 'grep -q ":$(stat -c %i /run/wharf/pass.lock) " /proc/locks' 2>/dev/null
}

container_has() { # VARIABLE
	engine 'http://engine/containers/site/json' | grep -qF "$1"
}

signalled() {
	local begun took passes
	begun=$(date +%s)
	passes=$(inside wharf events --json | grep -c '"docker-update"' || true)
	inside db docker_containers setprop site MaxMemory 100
	# shellcheck disable=SC2016 # for the shell inside
	inside sh -c 'seq "$1" | xargs -P 50 -n 1 sh -c "signal-event docker-update >/dev/null 2>&1" || exit 1' sh "$SIGNALS" ||
		broken "one of $SIGNALS signals failed"
	took=$(($(date +%s) - begun))
	must "the change before the signals is lost" limit_is site $((100 << 20))
	passes=$(($(inside wharf events --json | grep -c '"docker-update"') - passes))
	say "$SIGNALS signals in $took s were $passes events"
}

secret_kept() {
	local secret=s3kr1t-$RANDOM$RANDOM$RANDOM found
	inside db docker_containers setprop site Secret_TOKEN "$secret" Env_PASSWORD "$secret" 2>>"$work/log"
	inside signal-event container-modify site >>"$work/log" 2>&1
	inside wharf plan --json site >"$work/answers" 2>&1 || true
	for question in "why site" history status exposure "logs site" "events show 1"; do
		# shellcheck disable=SC2086 # many words
		inside wharf $question >>"$work/answers" 2>&1 || true
	done
	for question in "Plan as 1 site" "Status" "GetRecord ss docker_containers site" "History u 5"; do
		# shellcheck disable=SC2086
		inside busctl call $BUS $question >>"$work/answers"
	done
	# What others may read is found out as another; the engine's own files are the engine's.
	(umask 077 && echo "$secret" >"$work/root/root/secret")
	# shellcheck disable=SC2016 # for the shell inside
	found=$(inside sh -c '
		journalctl --no-pager -q | grep -Ff /root/secret
		grep -slaFf /root/secret /proc/[0-9]*/cmdline
		setpriv --reuid stranger --regid stranger --init-groups find / -xdev \( -path /proc -o -path /sys \
			-o -path /var/lib/docker -o -path /var/lib/containerd -o -path /run/containerd \) -prune -o \
			\( -path "/run*" -o -path "/var*" -o -path "/etc*" -o -path "/tmp*" \) -type f -readable -print0 2>/dev/null |
			xargs -0 grep -slaFf /root/secret' || true)
	rm "$work/root/root/secret"
	! grep -qF "$secret" "$work/answers" || found="$found an answer of wharf"
	[ -z "$found" ] || broken "the secret is in: $found"
	must "the container has no secret: nothing was tried" container_has "PASSWORD=$secret"
	inside db docker_containers delprop site Secret_TOKEN Env_PASSWORD
	until_true 30 inside wharf apply >>"$work/log" 2>&1 || broken "not as desired without the secret"
	all_ids >"$work/ids"
	say "a secret of a record is in no log, no command line, no file for all and no answer"
}

[ -x "$NEXT/wharf" ] || "$here/next.sh" "$NEXT"
first_machine
for step in ${STEPS:-installed in_use unit_disabled confined unplugged upgraded firewalld_and_flush killed signalled refused hammered secret_kept esmith removed}; do
	"$step"
done
say "done with $SUITE"
