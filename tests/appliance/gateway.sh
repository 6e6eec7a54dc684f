# The appliance as the gateway: its own firewalld and engine, as its systemd runs them. To be sourced.
#
# Two probers try ports all the time, one on the LAN and one on the Internet, while what a person may do
# to firewalld and to the engine is done. What must hold: nobody on the Internet is ever connected to a
# private port, and the LAN gets in again by itself.
# shellcheck shell=bash disable=SC2154

# How long the LAN may be kept out by what was done, in seconds.
PATIENCE=60

gateway() {
	say "The appliance as the gateway, with its dockerd"
	with_engine /var/run/docker.sock
	watched "docker" "systemctl restart docker"
	strict
	apart
}

podman() {
	say "The appliance as the gateway, with Podman behind the socket of its systemd"
	podman_settings
	inside systemctl start podman.socket
	with_engine /run/podman/podman.sock
	watched "podman" "systemctl restart podman.service podman.socket"
	lost
}

# Podman believes that it has booted while its containers of before still run: what its runtime refuses then,
# a wharfd has to end that may neither see nor end other processes.
lost() {
	local process
	say "Containers that Podman has lost, and a confined wharfd"
	process=$(inside systemctl show -P MainPID wharfd)
	inside grep -qx 'CapBnd:\s*0000000000001000' "/proc/$process/status" ||
		fail "wharfd is not confined" "systemctl cat wharfd, in the appliance"
	inside pgrep -c conmon
	inside systemctl stop podman.service podman.socket
	# Both are gone after a boot: the sign of the last one, and who has which address.
	inside rm /run/libpod/alive /run/containers/networks/ipam.db
	inside systemctl start podman.socket
	until_true "$PATIENCE" is_ended || {
		inside podman ps --all >&2
		inside journalctl --no-pager -q -u wharfd -n 20 >&2
		fail "a confined wharfd does not end what Podman has lost" "the lines above"
	}
	until_true "$PATIENCE" all_are_in || fail "not everybody is in again" "wharf status, in the appliance"
	inside wharf status
	inside journalctl --no-pager -q -u wharfd --grep 'what was left of it is ended'
}

is_ended() { inside journalctl --no-pager -q -u wharfd | grep -q 'what was left of it is ended'; }

# crun refuses hosts with both versions of control groups, and Podman asks for limits above those of
# this machine.
podman_settings() {
	# shellcheck disable=SC2016 # for the shell inside
	inside sh -c '
		[ -d /sys/fs/cgroup/systemd ] || exit 0
		mkdir -p /etc/containers
		limit=$(ulimit -H -n)
		printf "[containers]\ndefault_ulimits = [\"nofile=%s:%s\", \"nproc=20000:20000\"]\n" "$limit" "$limit"
		printf "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n"
	' >"$work/containers.conf"
	[ ! -s "$work/containers.conf" ] || inside sh -c 'cat >/etc/containers/containers.conf' <"$work/containers.conf"
}

with_engine() { # SOCKET: images, records and a pass
	local image
	# As an administrator would: the LAN is trusted, the Internet is what firewalld takes for public.
	# shellcheck disable=SC2016 # for the shell inside
	inside sh -c 'systemctl start firewalld
		for kind in --permanent ""; do
			firewall-cmd --quiet $kind --zone=trusted --change-interface=lan0
			firewall-cmd --quiet $kind --zone=public --change-interface=wan0
		done'
	inside sh -c "mkdir -p /etc/sysconfig; echo 'DOCKER_HOST=\"unix://$1\"' >/etc/sysconfig/wharf"
	for image in demo-web demo-db; do
		inside curl -sS --fail --unix-socket "$1" -X POST -H 'Content-Type: application/x-tar' \
			--data-binary @/root/image.tar -o /dev/null \
			"http://engine/images/create?fromSrc=-&repo=$image&tag=latest&changes=CMD%20%5B%22%2Fbin%2F$image%22%5D"
	done
	record shop demo-web TCPPort 80 PortMapping custom PortMappingPorts 8080:80 access private
	record site demo-web TCPPort 80 PortMapping custom PortMappingPorts 8081:80 access public
	record desk demo-web TCPPort 80 PortMapping custom PortMappingPorts 8082:80 access localhost
	record data demo-db TCPPort 3306 access private
	# The daemon is to look at the engine that is named now, and the pass is to have something to do.
	inside systemctl restart wharfd
	inside wharf apply
	until_true "$PATIENCE" all_are_in || fail "the ports that must be open are not" "wharf status, in the appliance"
	inside sh -c 'curl -sS --fail -m 3 -o /dev/null http://127.0.0.1:8082/' ||
		fail "a localhost port does not answer on the appliance itself" "wharf status, in the appliance"
}

record() { # NAME IMAGE PROPERTIES...
	local name=$1 image=$2
	shift 2
	inside db docker_containers set "$name" service status enabled Image "$image" "$@"
}

lan_is_in() {
	on_lan curl -sS --fail --noproxy '*' -m 2 -o /dev/null http://10.77.0.1:8080/ 2>/dev/null &&
		on_lan curl -sS --noproxy '*' --http0.9 -m 2 -o /dev/null http://10.77.0.1:3306/ 2>/dev/null
}

all_are_in() { lan_is_in && public_is_in; }

public_is_in() { on_wan curl -sS --fail --noproxy '*' -m 2 -o /dev/null http://198.51.100.1:8081/ 2>/dev/null; }

now() { date +%s.%N; }

event() { # SECONDS-THAT-MAY-BE-OPEN COMMAND...
	local start end allowed=$1
	shift
	start=$(now)
	inside sh -c "$*" >>"$work/events.log" 2>&1 || echo "ended with $?: $*" >&2
	end=$(now)
	echo "$start $end $allowed $*" >>"$work/events"
	# The probers tell how long it took; here it only ends the wait.
	if [ "$allowed" = 0 ]; then
		until_true "$PATIENCE" all_are_in || echo "somebody is still out after $PATIENCE s: $*" >&2
	fi
	sleep 2
}

address() { # NAME: of its container, from its record
	inside db docker_containers getprop "$1" Address
}

# The process that is started is the prober itself, so that its id ends it.
probe() { # wan|lan EVERY TARGETS...
	exec nsenter --net="/run/netns/$NAME-$1" -- python3 "$here/probe.py" watch "$work/$1" "${@:2}"
}

begin_probes() {
	local shop data
	shop=$(address shop)
	data=$(address data)
	probe wan 0.025 \
		-wan:private=198.51.100.1:8080 -wan:private-db=198.51.100.1:3306 \
		-wan:private-by-LAN-address=10.77.0.1:8080 -wan:private-db-by-LAN-address=10.77.0.1:3306 \
		-wan:localhost=198.51.100.1:8082 -wan:container="$shop:80" -wan:container-db="$data:3306" \
		+wan:public=198.51.100.1:8081 &
	probe_wan=$!
	probe lan 0.1 \
		-lan:localhost=10.77.0.1:8082 -lan:container="$shop:80" \
		+lan:private=10.77.0.1:8080 +lan:private-db=10.77.0.1:3306 +lan:public=10.77.0.1:8081 &
	probe_lan=$!
}

end_probes() {
	kill "$probe_wan" "$probe_lan"
	wait "$probe_wan" "$probe_lan" || true
	probe_wan='' probe_lan=''
}

watched() { # ENGINE RESTART-COMMAND
	: >"$work/events"
	begin_probes
	sleep 1
	event 0 true
	event 0 "firewall-cmd --reload"
	event 0 "firewall-cmd --complete-reload"
	event 0 "$2"
	event 0 "systemctl stop firewalld"
	# It has its name before its rules, and wipes those of Podman with them: it answers after that.
	event 0 "systemctl start firewalld; firewall-cmd --quiet --state"
	event 0 "systemctl restart firewalld"
	event 0 systemctl restart wharfd
	event 0 systemctl restart wharf-guard
	# It takes the guard away too: nothing but its return within a second can be promised. The engine's
	# rules are not ours; Docker makes them again when firewalld starts, Podman when wharfd calls it.
	# (firewalld 1.3 fails to reload what is gone, and then lets nobody in.)
	event 1 nft flush ruleset
	event 0 "systemctl restart firewalld"
	end_probes
	python3 "$here/probe.py" table "$work/events" "$work/wan" "$work/lan" ||
		fail "a promise was broken with $1 on $SUITE" "the lines above; $0 $SUITE gateway"
}

# What firewalld 2.3 brought: StrictForwardPorts, which refuses what others translate, and a table that
# nobody else may change. Neither may open a port, and neither may touch our table.
strict() {
	local setting
	for setting in StrictForwardPorts NftablesTableOwner; do
		inside sed -n "s/^$setting=.*/firewalld has &/p" /etc/firewalld/firewalld.conf
	done
	inside grep -q '^StrictForwardPorts=' /etc/firewalld/firewalld.conf || return 0
	say "firewalld with StrictForwardPorts=yes"
	inside sed -i 's/^StrictForwardPorts=.*/StrictForwardPorts=yes/' /etc/firewalld/firewalld.conf
	inside systemctl restart firewalld
	sleep 2
	verdict "private port, from the LAN" lan_is_in
	verdict "public port, from the Internet" public_is_in
	verdict "private port, from the Internet" private_is_open
	! private_is_open || fail "a private port is open to the Internet with StrictForwardPorts" "$0 $SUITE gateway"
	inside sed -i 's/^StrictForwardPorts=.*/StrictForwardPorts=no/' /etc/firewalld/firewalld.conf
	inside systemctl restart firewalld
	until_true "$PATIENCE" public_is_in || fail "the public port stays out without StrictForwardPorts" "$0 $SUITE gateway"
}

private_is_open() { on_wan curl -sS --fail --noproxy '*' -m 2 -o /dev/null http://198.51.100.1:8080/ 2>/dev/null; }

verdict() { # WORDS COMMAND...
	local words=$1
	shift
	if "$@"; then echo "$words: open"; else echo "$words: closed"; fi
}

# Two tables side by side: a reload of firewalld leaves every byte of ours.
apart() {
	say "Our table and firewalld's"
	inside nft list table inet wharf >"$work/guard.before"
	inside firewall-cmd --quiet --complete-reload
	inside nft list table inet wharf >"$work/guard.after"
	diff "$work/guard.before" "$work/guard.after" || fail "firewalld changed our table" "$0 $SUITE gateway"
	echo "table inet wharf is the same after firewall-cmd --complete-reload ($(wc -l <"$work/guard.after") lines)"
	verdict "firewalld's table, to changes by nft" inside nft add chain inet firewalld foreign 2>/dev/null
}
