#!/usr/bin/env bash
# Measures the guard of many records: rendering it, loading it as one transaction, and what flows
# through it cost. Medians; both sides of a comparison take turns.
# usage: guard.sh [CONTAINERS] [RUNS]
#
# Each container has five ports, so that 200 of them have a thousand. No engine and no container is
# needed: a namespace stands for the host, with the destination NAT that an engine makes, one for a
# client on the Internet, one for a client in the LAN and one for a container on the bridge. Needs root, nft,
# iperf3 and python3.
#
# FILTER=iptables measures the guard of a host without nftables, loaded by the programs that $IPTABLES
# begins (iptables, iptables-legacy, iptables-nft).
set -euo pipefail
cd "$(dirname "$0")/.."

containers=${1:-200}
runs=${2:-11}
target=${CARGO_TARGET_DIR:-$PWD/target}
filter=${FILTER:-nftables}
iptables=${IPTABLES:-iptables}
case $filter in
nftables) file=/etc/wharf/guard.nft ;;
iptables) file=/etc/wharf/guard.iptables ;;
*)
	echo "error: FILTER '$filter' is neither nftables nor iptables" >&2
	exit 1
	;;
esac
if [ "$(id -u)" != 0 ]; then
	echo "error: network namespaces need root" >&2
	echo "  hint: run as root: benches/guard.sh" >&2
	exit 1
fi
${CARGO:-cargo} build --release --locked --quiet --bin wharf --example turns
place=$(mktemp -d "${BENCH_DIR:-$PWD}/bench-guard.XXXXXX")
host=wb-$$ wan=wb-$$-wan lan=wb-$$-lan inside=wb-$$-in
clean() {
	for name in $host $wan $lan $inside; do ip netns del "$name" 2>/dev/null || true; done
	rm -rf "$place"
}
trap clean EXIT
trap 'exit 1' INT TERM
unset DBPATH WHARF_STORE WHARF_ROOT ESMITH_ROOT

# Two of three private, one public; every fourth names who may come; each has a link to the one before.
records() {
	awk -v n="$containers" 'BEGIN {
		for (i = 0; i < n; i++) {
			ports = ""
			for (p = 0; p < 5; p++) ports = ports (p ? "," : "") 20000 + i * 5 + p ":" 8000 + p
			printf "c%05d=service|Address|10.20.%d.%d|Image|demo|PortMapping|custom|PortMappingPorts|%s|TCPPort|8000-8004|access|%s|status|enabled", \
				i, int((i + 2) / 256), (i + 2) % 256, ports, i % 3 ? "private" : "public"
			if (i % 4 == 3) printf "|AllowHosts|198.51.100.0/24,203.0.113.%d", i % 256
			if (i) printf "|Interlinked|c%05d", i - 1
			printf "\n"
		}
	}'
}
root=$place/root
mkdir -p "$root/home/e-smith/db" "$root/etc/wharf"
records >"$root/home/e-smith/db/docker_containers"
echo "docker=service|Firewall|$filter|LocalNetworks|10.77.0.0/24,fd77::/64|Subnet|10.20.0.0/16" >"$root/home/e-smith/db/configuration"
echo '10.77.0.0=network|Mask|255.255.255.0' >"$root/home/e-smith/db/networks"
: >"$root/home/e-smith/db/docker_images"
ln -s "$target/release/wharf" "$place/expand-template"
guard=$root$file
export WHARF_ROOT=$root DBPATH=$root/home/e-smith/db
"$place/expand-template" "$file"

echo "$(nproc) CPUs, $containers containers, $((containers * 5)) ports, $(wc -c <"$guard") bytes of rules, $runs runs; milliseconds"
printf '%-40s %8s %8s %8s\n' '' median least most
program() { printf '%s\t' "$1"; shift; printf 'A=B'; printf '\t%s' "$@"; echo; } # WHAT COMMAND...
{
	program 'render the guard' "$place/expand-template" "$file"
	if [ "$filter" = nftables ]; then
		program 'load it, one transaction' /usr/sbin/nft -f "$guard"
		program 'change one port, its elements alone' /usr/sbin/nft -f "$place/one"
		program 'read the table back' /usr/sbin/nft list table inet wharf
	else
		program 'load it, one transaction' "$(command -v "$iptables-restore")" "$guard"
		program 'read the chains back' "$(command -v "$iptables-save")" -t mangle
	fi
	program 'an empty process' /bin/true
} >"$place/lines"
# What a pass sends when a record's access changes to and fro.
printf '%s element inet wharf %s { %s }\n' delete private 'tcp . 20005' delete private_tcp 20005 delete closed 20005 \
	add private 'tcp . 20005' add private_tcp 20005 add closed 20005 >"$place/one"
for name in $host $wan $lan $inside; do
	ip netns add "$name"
	ip -n "$name" link set lo up
done
ip netns exec $host "$target/release/examples/turns" "$runs" <"$place/lines"
if [ "$filter" = nftables ]; then
	listing=$(ip netns exec $host nft list set inet wharf private)
else
	listing=$(ip netns exec $host "$iptables-save" -t mangle)
fi
case $listing in
*'tcp . 20005'* | *20005:*) ;;
*)
	echo 'error: the guard that was measured has no ports' >&2
	exit 1
	;;
esac

ip -n $host link add wan0 type veth peer name eth0 netns $wan
ip -n $host link add lan0 type veth peer name eth0 netns $lan
ip -n $host link add wharf0 type bridge
ip -n $host link add c0 type veth peer name eth0 netns $inside
ip -n $host addr add 198.51.100.1/24 dev wan0
ip -n $host addr add 10.20.0.1/16 dev wharf0
ip -n $host addr add 10.77.0.1/24 dev lan0
ip -n $host link set wan0 up
ip -n $host link set lan0 up
ip -n $host link set wharf0 up
ip -n $host link set c0 master wharf0 up
ip -n $wan addr add 198.51.100.50/24 dev eth0
ip -n $wan link set eth0 up
ip -n $lan addr add 10.77.0.50/24 dev eth0
ip -n $lan link set eth0 up
ip -n $inside addr add 10.20.0.2/16 dev eth0
ip -n $inside link set eth0 up
ip -n $inside route add default via 10.20.0.1
ip netns exec $host sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
ip netns exec $host nft 'table ip engine {
chain nat {
	type nat hook prerouting priority dstnat
	fib daddr type local tcp dport { 20000, 20005 } dnat to 10.20.0.2:8000
}
chain out {
	type nat hook postrouting priority srcnat
	ip saddr 10.20.0.0/16 oifname != "wharf0" masquerade
}
}'
# What the loader makes of the lines about marks, with some bits.
bits() { seq -s ' | ' "$1" "$2"; }
sed -e 's/#judged //' \
	-e "s/\$ASKED_FAR/($(bits 64 79))/; s/\$ASKED_NEAR/($(bits 65 80))/; s/\$ASKED_OUT/($(bits 66 81))/" \
	-e "s/\$PASSED_IN/($(bits 96 111))/; s/\$PASSED_OUT/($(bits 97 112))/" \
	-e "s/\$ASKED/($(bits 64 95))/; s/\$PASSED/($(bits 96 127))/; s/\$BOTH/($(bits 64 127))/" \
	"$guard" >"$place/marked"
printf '*mangle\nCOMMIT\n' >"$place/none"
if [ "$filter" = nftables ]; then
	nft="nsenter --net=/run/netns/$host nft"
	$nft -f "$place/marked"
	on="$nft 'add table inet wharf'" off="$nft 'add table inet wharf { flags dormant; }'"
else
	# The hooks go too, which a host with other rules has anyway.
	restore="nsenter --net=/run/netns/$host $(command -v "$iptables-restore")"
	on="$restore $guard" off="$restore $place/none"
fi
flow() { # WHAT SERVER CLIENT ADDRESS PORT
	printf '%-36s ' "$1"
	benches/flow.py "${PAIRS:-100}" "$2" "$3" "$4" "$5" "$on" "$off"
}
flow 'from the Internet to a public port' $inside $wan 198.51.100.1 20000
flow 'from the LAN to a private port' $inside $lan 10.77.0.1 20005
flow 'from a container to the outside' $wan $inside 198.51.100.50 8000
