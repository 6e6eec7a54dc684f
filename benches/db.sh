#!/usr/bin/env bash
# Measures db on both stores beside the cost of an empty process, in turns; medians in milliseconds.
# usage: db.sh [RUNS]
#
# e-smith's own db needs 14.8 ms for a getprop with 10 records and 24.6 with 10,000, 15.7 and 38.0 for a
# setprop (which it does not sync), 121.5 for a show of 10,000 (smeserver-lib 11.0.0, perl 5.36, two
# virtual CPUs). Makes and removes a directory of its own below BENCH_DIR, which should be on a disk.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-41}
target=${CARGO_TARGET_DIR:-$PWD/target}
${CARGO:-cargo} build --release --locked --quiet --bin db --example turns
place=$(mktemp -d "${BENCH_DIR:-$PWD}/bench-db.XXXXXX")
trap 'rm -rf "$place"' EXIT
ln -s "$target/release/db" "$place/db"
unset DBPATH WHARF_STORE WHARF_ROOT ESMITH_ROOT

records() { # COUNT
	awk -v n="$1" 'BEGIN {
		printf "["
		for (i = 0; i < n; i++)
			printf "%s{\"name\":\"k%05d\",\"type\":\"service\",\"props\":{\"access\":\"private\",\"status\":\"enabled\",\"TCPPort\":\"%d\",\"Name\":\"record %d\",\"Note\":\"some words of text\"}}", (i ? "," : ""), i, 1000 + i, i
		print "]"
	}'
}

line() { # LABEL VARIABLE ARGUMENT...
	printf '%s\t%s\t%s' "$1" "$2" "$place/db"
	shift 2
	printf '\t%s' "$@"
	echo
}

echo "$(nproc) CPUs, $(df --output=fstype "$place" | tail -n 1), $runs runs; milliseconds"
printf '%-40s %8s %8s %8s\n' '' median least most
for count in 10 1000 10000; do
	: >"$place/reads"
	: >"$place/writes"
	for store in sqlite esmith; do
		mkdir -p "$place/$store-$count/db"
		case $store in
		sqlite) variable=WHARF_ROOT=$place/sqlite-$count ;;
		esmith) variable=DBPATH=$place/esmith-$count/db ;;
		esac
		records "$count" | env "$variable" "$place/db" t setjson -
		name="$store, $count records:"
		{
			line "$name getprop" "$variable" t getprop k00007 status
			line "$name show KEY" "$variable" t show k00007
			line "$name show" "$variable" t show
		} >>"$place/reads"
		{
			line "$name setprop, changed" "$variable" t setprop k00007 Note 'turn {}'
			line "$name setprop, same" "$variable" t setprop k00008 Note 'some words of text'
		} >>"$place/writes"
	done
	printf 'an empty process\tA=B\t/bin/true\n' >>"$place/reads"
	sync -f "$place"
	"$target/release/examples/turns" "$runs" <"$place/reads"
	"$target/release/examples/turns" "$runs" <"$place/writes"
done
