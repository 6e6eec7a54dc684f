#!/usr/bin/env bash
# The demo: two containers from records, running, linked and exposed. `make demo` calls it as root.
# usage: demo.sh up | demo.sh down
#
# DEMO_ROOT (./demo-root) is what wharf takes for `/`. The engine is the one DOCKER_HOST names, else the
# one at the usual socket, else one of the demo's own, on this machine's network, which `down` ends.
# Every command is shown before it runs, after a `$`; a step that ends otherwise than expected ends the
# demo. `down` works after a demo that broke off anywhere.
set -euo pipefail

usage() {
	echo "usage: demo.sh up | demo.sh down" >&2
	exit 2
}
[ $# = 1 ] || usage

here=$(cd "$(dirname "$0")" && pwd)
root=${DEMO_ROOT:-$PWD/demo-root}
wharf=${WHARF:-$here/../target/release/wharf}
state=$root/.demo
PATH=$state/bin:$PATH:/usr/sbin:/sbin
export WHARF_ROOT=$root PATH
unset DBPATH WHARF_STORE ESMITH_ROOT

say() { printf '\n== %s\n' "$*"; }

fail() { # MESSAGE HINT
	printf 'error: %s\n  hint: %s\n' "$1" "$2" >&2
	exit 1
}

quote() { # as one would type it
	local word
	for word in "$@"; do
		case $word in
		*[!A-Za-z0-9_./:=,@%+-]* | '') printf "'%s' " "$word" ;;
		*) printf '%s ' "$word" ;;
		esac
	done
}

run() { # shows a command and runs it
	local line
	line=$(quote "$@")
	printf '$ %s\n' "${line% }"
	"$@"
}

expect() { # STATUSES COMMAND...: shows a command, runs it, and ends the demo unless it ends with one of them
	local wanted=$1 status=0
	shift
	run "$@" || status=$?
	printf '(exit %s)\n' "$status"
	case " $wanted " in
	*" $status "*) ;;
	*) fail "expected exit $wanted" "see what it printed above; \`make demo-clean\` takes everything back" ;;
	esac
}

until_true() { # SECONDS COMMAND...
	local end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# ---- the engine

api() { # METHOD PATH [CURL OPTIONS]: the engine's answer; fails on a status of 400 and above
	local method=$1 path=$2
	shift 2
	case $DOCKER_HOST in
	unix://*) set -- --unix-socket "${DOCKER_HOST#unix://}" "$@" "http://engine$path" ;;
	tcp://*) set -- "$@" "http://${DOCKER_HOST#tcp://}$path" ;;
	*) fail "DOCKER_HOST is $DOCKER_HOST" "the demo knows unix:///PATH and tcp://127.0.0.1:PORT" ;;
	esac
	curl -sS --fail --noproxy '*' -m 60 -X "$method" "$@"
}

answers() { [ "$(api GET /_ping 2>/dev/null)" = OK ]; }

choose_engine() { # sets DOCKER_HOST; an engine that answers
	if [ -n "${DOCKER_HOST:-}" ]; then
		answers || fail "no engine answers at DOCKER_HOST=$DOCKER_HOST" "start it, or unset DOCKER_HOST"
		echo "the engine is the one at DOCKER_HOST=$DOCKER_HOST"
	elif DOCKER_HOST=unix:///var/run/docker.sock && export DOCKER_HOST && answers; then
		echo "the engine is this machine's, at $DOCKER_HOST"
	else
		own_engine
	fi
	export DOCKER_HOST
	echo "$DOCKER_HOST" >"$state/docker_host"
}

own_engine() {
	local dir
	# Short, because the path of a socket has at most 107 bytes; what grows lies below DEMO_ROOT.
	dir=$(mktemp -d /tmp/wharf-demo.XXXXXX)
	echo "$dir" >"$state/engine"
	DOCKER_HOST=unix://$dir/docker.sock
	cat >"$dir/containerd.toml" <<-TOML
		version = 2
		root = "$state/containerd"
		state = "$dir/containerd"
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		address = "$dir/containerd.sock"
		[ttrpc]
		address = "$dir/containerd.sock.ttrpc"
	TOML
	# Forwarding is left to wharf; a bridge of the engine's own is not needed.
	cat >"$dir/daemon.json" <<-JSON
		{
		  "hosts": ["$DOCKER_HOST"],
		  "containerd": "$dir/containerd.sock",
		  "data-root": "$state/engine-data",
		  "exec-root": "$dir/exec",
		  "pidfile": "$dir/dockerd.pid",
		  "bridge": "none",
		  "ip-forward": false,
		  "cgroup-parent": "/${dir##*/}",
		  "exec-opts": ["native.cgroupdriver=cgroupfs"]
		}
	JSON
	echo "no engine answers: the demo starts one of its own"
	echo "\$ containerd --config $dir/containerd.toml &"
	setsid containerd --config "$dir/containerd.toml" >>"$state/containerd.log" 2>&1 </dev/null &
	echo $! >"$dir/containerd.pid"
	echo "\$ dockerd --config-file $dir/daemon.json &"
	setsid dockerd --config-file "$dir/daemon.json" >>"$state/dockerd.log" 2>&1 </dev/null &
	if ! until_true 60 answers; then
		tail -n 20 "$state/dockerd.log" >&2
		fail "the engine did not start; the end of its log is above" "see $state/dockerd.log"
	fi
}

ours_at() { # FILE: the pid in it, when the process is one of this demo's engine
	local pid
	pid=$(cat "$1" 2>/dev/null) && command_line "$pid" | grep -qF "$engine" && echo "$pid"
}

command_line() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null; }

stop_own_engine() {
	local engine pid mount group file
	engine=$(cat "$state/engine" 2>/dev/null) || return 0
	case $engine in /tmp/wharf-demo.??????) ;; *) fail "$state/engine holds '$engine'" "remove $root by hand" ;; esac
	say "Ending the demo's own engine"
	for file in dockerd.pid containerd.pid; do
		if pid=$(ours_at "$engine/$file"); then
			echo "\$ kill $pid   # ${file%.pid}"
			kill "$pid" 2>/dev/null || true
			until_true 20 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
		fi
	done
	for file in "$engine"/containerd/io.containerd.runtime.v2.task/moby/*/address; do
		[ -e "$file" ] || continue
		file=$(cat "$file")
		rm -f "${file#unix://}"
	done
	# Shims of containers that an engine killed from outside left behind.
	for file in /proc/[0-9]*; do
		pid=${file#/proc/}
		if [ "$pid" != $$ ] && command_line "$pid" | grep -qF "$engine/"; then
			kill -KILL "$pid" 2>/dev/null || true
		fi
	done
	for group in /sys/fs/cgroup/"${engine##*/}" /sys/fs/cgroup/*/"${engine##*/}"; do
		[ -d "$group" ] || continue
		find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r pid; do
			kill -KILL "$pid" 2>/dev/null || true
		done
		until_true 5 group_removed "$group" || true
	done
	awk -v a="$engine/" -v b="$state/" 'index($2, a) == 1 || index($2, b) == 1 { print $2 }' \
		/proc/mounts | sort -r | while read -r mount; do
		umount -l "$mount"
	done
	restore_tables
	rm -rf --one-file-system "$engine"
}

gone() { [ ! -e "/proc/$1" ] || [ "$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null)" = Z ]; }

group_removed() {
	find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -d "$1" ]
}

added() { # PATTERN: what of the lines of $state/now fits it and nothing in $state/then does
	comm -23 <(grep -o "$1" "$state/now" | sort) <(grep -o "$1" "$state/then" | sort)
}

# Takes back what the demo's own engine added to the packet filter: the difference to what was there.
restore_tables() {
	local tool family table rule chain policy
	for tool in iptables ip6tables; do
		[ -e "$state/before/$tool" ] || continue
		for table in filter nat mangle raw; do
			"$tool-save" -t "$table" 2>/dev/null >"$state/now" || continue
			sed -n "/^\*$table\$/,/^COMMIT/p" "$state/before/$tool" >"$state/then"
			added '^-A .*' | while read -r rule; do
				# shellcheck disable=SC2086 # a rule is many words
				eval "$tool -w -t $table -D ${rule#-A }"
			done
			added '^:DOCKER[^ ]*' | sed 's/^://' | while read -r chain; do
				"$tool" -w -t "$table" -X "$chain" || true
			done
			policy=$(sed -n 's/^:FORWARD \([A-Z]*\) .*/\1/p' "$state/then")
			if grep -q '^:FORWARD DROP' "$state/now" && [ "${policy:-ACCEPT}" = ACCEPT ]; then
				"$tool" -w -t "$table" -P FORWARD ACCEPT
			fi
		done
		# Tables that were not there and hold nothing now.
		if [ "$tool" = iptables ]; then family=ip; else family=ip6; fi
		nft list tables 2>/dev/null | sed -n "s/^table $family //p" | while read -r table; do
			if ! grep -qx "table $family $table" "$state/before/nft-tables" &&
				! "$tool-save" -t "$table" 2>/dev/null | grep -q '^-A '; then
				nft delete table "$family" "$table"
			fi
		done
	done
}

# ---- what was there before, to be shown again after

remember() { # DIRECTORY
	mkdir -p "$1"
	ip -o link | awk -F': ' '{ sub(/@.*/, "", $2); print $2 }' | sort >"$1/links"
	nft list tables 2>/dev/null | sort >"$1/nft-tables"
	awk '{ print $2 }' /proc/mounts | grep -vx /run/netns | sort >"$1/mounts"
	# shellcheck disable=SC2009 # pgrep shows no command lines alone
	ps -eo args= | grep -E '^([^ ]*/)?(dockerd|containerd|wharfd?|docker-proxy|containerd-shim[^ ]*) ' | sort >"$1/processes" || true
	iptables-save 2>/dev/null | grep -v '^#' >"$1/iptables" || true
	ip6tables-save 2>/dev/null | grep -v '^#' >"$1/ip6tables" || true
	sysctl_values >"$1/sysctl"
}

sysctl_values() {
	local name
	for name in net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables; do
		sysctl -e "$name" 2>/dev/null || true
	done
}

restore_sysctl() {
	local line name
	[ -e "$state/before/sysctl" ] || return 0
	while read -r line; do
		name=${line%% =*}
		[ "$(sysctl -e "$name" 2>/dev/null)" = "$line" ] || run sysctl -q -w "$name=${line##*= }"
	done <"$state/before/sysctl"
}

# ---- up and down

import() { # NAME: makes an image of the demo's root file system
	if api GET "/images/$1:latest/json" >/dev/null 2>&1; then
		echo "image $1 is there already"
		return
	fi
	echo "\$ tests/image/build.sh image.tar; curl ... -T image.tar '/images/create?fromSrc=-&repo=$1&changes=CMD...'"
	api POST "/images/create?fromSrc=-&repo=$1&tag=latest&changes=CMD%20%5B%22%2Fbin%2F$1%22%5D" \
		-H 'Content-Type: application/x-tar' --data-binary "@$state/image.tar" >/dev/null
	echo "$1" >>"$state/images"
}

page() { # URL TEXT: fetches it and shows it, when it holds the text
	local found
	if ! found=$(curl -sS --fail --noproxy '*' -m 5 "$1" 2>/dev/null) || [[ $found != *"$2"* ]]; then
		return 1
	fi
	printf '%s\n' "$found"
}

up() {
	[ -x "$wharf" ] || fail "$wharf is not there" "make build"
	[ "$(id -u)" = 0 ] || fail "the demo makes a bridge and a packet filter table: it needs root" "make demo, which uses sudo"
	local first="3" name
	if [ -e "$state/docker_host" ]; then
		say "The demo is up already: this shows it again (make demo-clean takes it down)"
		DOCKER_HOST=$(cat "$state/docker_host")
		export DOCKER_HOST
		answers || fail "its engine at $DOCKER_HOST does not answer any more" "make demo-clean, then make demo"
		first="0 3"
	else
		if nft list table inet wharf >/dev/null 2>&1; then
			fail "wharf is at work on this machine already, and the demo would take its place" "run the demo on another machine"
		fi
		[ ! -e "$state" ] || fail "$root holds a demo that broke off" "make demo-clean, then make demo"
		mkdir -p "$state/bin"
		remember "$state/before"
		say "The engine"
		choose_engine
	fi
	for name in wharf wharfd db config signal-event; do
		ln -sf "$(realpath "$wharf")" "$state/bin/$name"
	done

	say "Two images, made here from a static busybox"
	"$here/image/build.sh" "$state/image.tar"
	import demo-db
	import demo-web

	say "The records (below $root)"
	run db docker_containers set mysql service status enabled Image demo-db TCPPort 3306 MaxMemory 64
	run db docker_containers set wordpress service status enabled Image demo-web TCPPort 80 \
		PortMapping custom PortMappingPorts 8080:80 access private Interlinked mysql:db \
		MaxMemory 128 WebAlias blog DataMount host DataMountPath /var/www

	say "What a pass would do: exit 3 says that there is something to do"
	expect "$first" wharf plan

	say "The pass, as e-smith's event"
	expect 0 signal-event docker-update

	say "What there is now"
	expect 0 wharf status

	say "The web page, from this host"
	printf '$ curl http://localhost:8080/\n'
	until_true 15 page http://localhost:8080/ demo-web ||
		fail "http://localhost:8080/ does not show the page" "wharf status; wharf plan"
	printf '$ curl http://localhost:8080/database.txt   # written by wordpress, from its link db:3306\n'
	until_true 15 page http://localhost:8080/database.txt 'demo-db ready' ||
		fail "wordpress did not reach its link db:3306" "wharf status; wharf plan"

	say "The same for programs (its beginning)"
	printf '$ wharf status --json | head -n 20\n'
	wharf status --json >"$state/status.json" || fail "wharf status --json failed" "wharf status"
	head -n 20 "$state/status.json"

	say "Who may reach what: the guard table of the kernel (its sets)"
	printf '$ nft list table inet wharf\n'
	nft list table inet wharf >"$state/guard"
	sed -n '/^\tset /,/^\t}/p' "$state/guard" | grep -B4 -A1 'elements' || cat "$state/guard"

	say "The files that were rendered"
	(cd "$root" && find . -path ./.demo -prune -o -type f -path '*/etc/*' -print | sort)

	say "A second pass finds nothing to do"
	expect 0 wharf plan
	expect 0 wharf apply

	say "Done. Look around with:"
	echo "  export WHARF_ROOT=$root DOCKER_HOST=$DOCKER_HOST PATH=$state/bin:\$PATH"
	echo "and take everything back with: make demo-clean"
}

down() {
	[ "$(id -u)" = 0 ] || fail "taking the demo back needs root" "make demo-clean, which uses sudo"
	if [ ! -e "$state" ]; then
		echo "nothing of a demo is at $root"
		return
	fi
	DOCKER_HOST=$(cat "$state/docker_host" 2>/dev/null || sed 's,^,unix://,; s,$,/docker.sock,' "$state/engine" 2>/dev/null || true)
	export DOCKER_HOST
	if [ -n "$DOCKER_HOST" ] && answers; then
		remove_demo
	fi
	nft list table inet wharf >/dev/null 2>&1 && run nft delete table inet wharf
	stop_own_engine
	restore_sysctl
	prove
	rm -rf --one-file-system "$root"
	echo "removed $root"
}

remove_demo() {
	local name image
	say "The records go, and with them the containers"
	if [ -x "$state/bin/wharf" ]; then
		for name in wordpress mysql; do
			if db docker_containers show "$name" >/dev/null 2>&1; then
				run db docker_containers delete "$name"
			fi
		done
		run wharf apply || echo "the pass failed; what is left is removed below"
		run wharf teardown || echo "not all of it; what is left is removed below"
	fi
	for name in wordpress mysql; do
		# Only what carries this demo's image: a container of the same name may be somebody's.
		if api GET "/containers/$name/json" 2>/dev/null | grep -q '"Image":"demo-'; then
			api DELETE "/containers/$name?force=true&v=true" >/dev/null && echo "removed container $name"
		fi
	done
	if api GET /networks/wharf0 >/dev/null 2>&1; then
		echo "\$ curl -X DELETE /networks/wharf0"
		api DELETE /networks/wharf0 >/dev/null || echo "network wharf0 is in use by others and stays"
	fi
	if [ -e "$state/images" ]; then
		while read -r image; do
			echo "\$ curl -X DELETE /images/$image"
			api DELETE "/images/$image:latest?force=true" >/dev/null || true
		done <"$state/images"
	fi
}

# Shows that nothing is left: links, tables, rules, mounts, processes and sysctls are as before.
prove() {
	local what
	say "What is here, compared with before the demo"
	[ -d "$state/before" ] || return 0
	remember "$state/after"
	for what in links nft-tables iptables ip6tables mounts processes sysctl; do
		# Counters and the order of chains say nothing.
		diff <(sed 's/\[[0-9:]*\]//' "$state/before/$what" | sort) \
			<(sed 's/\[[0-9:]*\]//' "$state/after/$what" | sort) >"$state/diff" || true
		# Processes of others end when they like.
		[ "$what" != processes ] || sed -i -n '/^>/p' "$state/diff"
		if [ ! -s "$state/diff" ]; then
			printf '%-12s as before (%s)\n' "$what" "$(wc -l <"$state/after/$what")"
		else
			printf '%-12s differs:\n' "$what"
			cat "$state/diff"
			fail "the demo left something behind" "see above; $state is kept"
		fi
	done
}

case $1 in
up) up ;;
down) down ;;
*) usage ;;
esac
