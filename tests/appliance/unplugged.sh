# The power goes without warning, and comes back. To be sourced.
#
# A machine that boots has new namespaces, since those of the last boot would keep its rules. Somebody on
# the Internet tries the private ports from before its first process until all is quiet.
# shellcheck shell=bash disable=SC2154

unplugged() {
	local start
	addresses >"$work/addresses"
	power_off
	connect
	: >"$work/events"
	begin_probes
	start=$(date +%s.%N)
	power_on
	is_up
	echo "$start $(date +%s.%N) 0 power back" >>"$work/events"
	must "not everybody is in after the power cut" until_true "${PATIENCE:-60}" all_are_in
	must "wharf status is not 0 after the power cut" until_true "${PATIENCE:-60}" as_desired
	sleep 2
	end_probes
	python3 "$here/probe.py" table "$work/events" "$work/wan" >"$work/table" ||
		{ cat "$work/table" >&2; broken "a port that must be closed was open while the machine booted"; }
	must "the public port was never seen open: the prober is blind" grep -q '^[0-9.]* +wan:public=[^ ]* answered$' "$work/wan"
	must "an address is another one" diff "$work/addresses" <(addresses)
	must "the guard was not there before the network" guard_is_first
	must "the database was not started before the one that links to it" in_order mysql wordpress
	must "somebody is in" all_are_out
	must "a container was made anew" same_ids
	say "cut off and booted: guard first, links in order, same addresses;" \
		"$(grep -c -- '^[0-9.]* -' "$work/wan") tries at closed ports, none got in"
}

addresses() {
	local name
	for name in mysql wordpress site desk; do
		echo "$name $(address $name) $(engine "http://engine/containers/$name/json" |
			grep -o '"IPAddress":"[0-9.]*"' | sort -u | grep -v '""')"
	done
}

guard_is_first() {
	local guard network engine
	guard=$(reached wharf-guard.service)
	network=$(reached network-pre.target)
	engine=$(inside systemctl show -P ExecMainStartTimestampMonotonic docker.service)
	[ "$guard" -gt 0 ] && [ "$guard" -le "$network" ] && [ "$guard" -lt "$engine" ]
}

reached() { # UNIT: microseconds since the boot
	inside systemctl show -P ActiveEnterTimestampMonotonic "$1"
}

in_order() { # FIRST SECOND
	local first second
	first=$(started "$1")
	second=$(started "$2")
	[[ $first < $second ]] || { echo "$1 $first, $2 $second" >&2; return 1; }
}

started() { # NAME
	engine "http://engine/containers/$1/json" | grep -o '"StartedAt":"[^"]*"'
}

begin_probes() {
	local wordpress mysql
	wordpress=$(sed -n 's/^wordpress \([^ ]*\).*/\1/p' "$work/addresses")
	mysql=$(sed -n 's/^mysql \([^ ]*\).*/\1/p' "$work/addresses")
	nsenter --net="/run/netns/$NAME-wan" -- python3 "$here/probe.py" watch "$work/wan" 0.02 \
		-wan:private=198.51.100.1:8080 -wan:private-db=198.51.100.1:3306 \
		-wan:private-by-LAN-address=10.77.0.1:8080 -wan:private-db-by-LAN-address=10.77.0.1:3306 \
		-wan:localhost=198.51.100.1:8082 -wan:container="$wordpress:80" -wan:container-db="$mysql:3306" \
		+wan:public=198.51.100.1:8081 &
	probe_wan=$!
}

# nsenter becomes the prober, so that this id ends it.
end_probes() {
	kill "$probe_wan"
	wait "$probe_wan" || true
	probe_wan=
}
