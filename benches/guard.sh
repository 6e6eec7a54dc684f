#!/usr/bin/env bash
# Measures the guard of many records: rendering it, loading it as one transaction, and what a flow
# through it costs. Medians; both sides of a comparison take turns.
# usage: guard.sh [CONTAINERS] [RUNS]
#
# Each container has five ports, so that 200 of them have a thousand. No engine and no container is
# needed: a namespace stands for the host, with the destination NAT that an engine makes, one for a
# client on the Internet and one for a container on the bridge. Needs root, nft and iperf3.
set -euo pipefail
cd "$(dirname "$0")/.."

containers=${1:-200}
runs=${2:-11}
target=${CARGO_TARGET_DIR:-$PWD/target}
if [ "$(id -u)" != 0 ]; then
	echo "error: network namespaces need root" >&2
	echo "  hint: run as root: benches/guard.sh" >&2
	exit 1
fi
${CARGO:-cargo} build --release --locked --quiet --bin wharf --example turns
place=$(mktemp -d "${BENCH_DIR:-$PWD}/bench-guard.XXXXXX")
host=wb-$$ wan=wb-$$-wan inside=wb-$$-in
server=
clean() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	for name in $host $wan $inside; do ip netns del "$name" 2>/dev/null || true; done
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
echo 'docker=service|LocalNetworks|10.77.0.0/24,fd77::/64|Subnet|10.20.0.0/16' >"$root/home/e-smith/db/configuration"
echo '10.77.0.0=network|Mask|255.255.255.0' >"$root/home/e-smith/db/networks"
: >"$root/home/e-smith/db/docker_images"
ln -s "$target/release/wharf" "$place/expand-template"
guard=$root/etc/wharf/guard.nft
export WHARF_ROOT=$root DBPATH=$root/home/e-smith/db
"$place/expand-template" /etc/wharf/guard.nft

echo "$(nproc) CPUs, $containers containers, $((containers * 5)) ports, $(wc -c <"$guard") bytes of rules, $runs runs; milliseconds"
printf '%-40s %8s %8s %8s\n' '' median least most
{
	printf 'render the guard\tA=B\t%s\t/etc/wharf/guard.nft\n' "$place/expand-template"
	printf 'load it, one transaction\tA=B\t/usr/sbin/nft\t-f\t%s\n' "$guard"
	printf 'change one port, its elements alone\tA=B\t/usr/sbin/nft\t-f\t%s\n' "$place/one"
	printf 'read the table back\tA=B\t/usr/sbin/nft\tlist\ttable\tinet\twharf\n'
	printf 'an empty process\tA=B\t/bin/true\n'
} >"$place/lines"
# What a pass sends when a record's access changes to and fro.
printf '%s element inet wharf %s { %s }\n' delete private 'tcp . 20005' delete private_tcp 20005 \
	add private 'tcp . 20005' add private_tcp 20005 >"$place/one"
for name in $host $wan $inside; do
	ip netns add "$name"
	ip -n "$name" link set lo up
done
ip netns exec $host "$target/release/examples/turns" "$runs" <"$place/lines"
ip netns exec $host nft list set inet wharf private | grep 'tcp . 20005' >/dev/null || {
	echo 'error: the guard that was measured has no ports' >&2
	exit 1
}

ip -n $host link add wan0 type veth peer name eth0 netns $wan
ip -n $host link add wharf0 type bridge
ip -n $host link add c0 type veth peer name eth0 netns $inside
ip -n $host addr add 198.51.100.1/24 dev wan0
ip -n $host addr add 10.20.0.1/16 dev wharf0
ip -n $host link set wan0 up
ip -n $host link set wharf0 up
ip -n $host link set c0 master wharf0 up
ip -n $wan addr add 198.51.100.50/24 dev eth0
ip -n $wan link set eth0 up
ip -n $inside addr add 10.20.0.2/16 dev eth0
ip -n $inside link set eth0 up
ip -n $inside route add default via 10.20.0.1
ip netns exec $host sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
ip netns exec $host nft 'table ip engine {
chain nat {
	type nat hook prerouting priority dstnat
	fib daddr type local tcp dport 20000 dnat to 10.20.0.2:8000
}
}'
ip netns exec $inside iperf3 --server --port 8000 >/dev/null 2>&1 &
server=$!
flow() { # bits in a second, through the host's port
	ip netns exec $wan iperf3 --client 198.51.100.1 --port 20000 --time "${SECONDS_EACH:-1}" --json |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"] / 1e9)'
}
until ip netns exec $inside sh -c 'grep -q :1F40 /proc/net/tcp6 /proc/net/tcp'; do sleep 0.05; done
flow >/dev/null
with() {
	ip netns exec $host nft -f "$guard"
	flow
}
without() {
	ip netns exec $host nft delete table inet wharf 2>/dev/null || true
	flow
}
# Pairs, because a busy machine changes from one second to the next more than the guard costs.
for pair in $(seq "${PAIRS:-21}"); do
	if [ $((pair % 2)) = 0 ]; then
		a=$(with) b=$(without)
	else
		b=$(without) a=$(with)
	fi
	echo "$a" >>"$place/with"
	echo "$b" >>"$place/without"
	awk -v a="$a" -v b="$b" 'BEGIN { print a / b }' >>"$place/ratio"
done
middle() { sort -g "$1" | awk '{ line[NR] = $1 } END { print line[int((NR + 1) / 2)] }'; }
awk -v with="$(middle "$place/with")" -v without="$(middle "$place/without")" -v ratio="$(middle "$place/ratio")" 'BEGIN {
	printf "a flow through the guard %.2f Gbit/s, without it %.2f; of the pairs: %+.1f %%\n", with, without, (ratio - 1) * 100
}'
echo "of the pairs, least to most: $(sort -g "$place/ratio" | xargs printf '%.2f ')"
