#!/usr/bin/env bash
# Measures expand-template and signal-event beside the cost of an empty process, in turns; medians in
# milliseconds. Then one event with many targets.
# usage: templates.sh [RUNS]
#
# e-smith's own expand-template needs 32.9 ms for 10 fragments (5 plain, 5 with code), the target unchanged,
# and 58.7 with 1,000 records; its signal-event with 3 such templates and 3 shell actions 85.8 and 156.4, with
# the actions alone 43.1 (perl 5.36, two virtual CPUs). Makes and removes a directory of its own below BENCH_DIR.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-31}
target=${CARGO_TARGET_DIR:-$PWD/target}
${CARGO:-cargo} build --release --locked --quiet --bin wharf --example turns
place=$(mktemp -d "${BENCH_DIR:-$PWD}/bench-templates.XXXXXX")
trap 'rm -rf "$place"' EXIT
for name in expand-template signal-event; do ln -s "$target/release/wharf" "$place/$name"; done
unset DBPATH WHARF_STORE WHARF_ROOT ESMITH_ROOT

records() { # COUNT
	awk -v n="$1" 'BEGIN {
		print "SystemName=box"
		for (i = 0; i < n; i++)
			printf "k%05d=service|Name|record %d|Note|some words of text|TCPPort|%d|access|private|status|enabled\n", i, i, 1000 + i
	}'
}

template() { # DIRECTORY NAME
	local i
	mkdir -p "$1/$2"
	for i in 1 2 3 4 5; do
		printf '# part %s of %s\nplain = yes\nmore = text\n' "$i" "$2" >"$1/$2/${i}0plain"
		printf 'name%s = {{ SystemName }}\n{%% if k00003.status == "enabled" %%}port = {{ k00003.TCPPort }}{%% endif %%}\n' "$i" >"$1/$2/${i}5code"
	done
}

echo "$(nproc) CPUs, $(df --output=fstype "$place" | tail -n 1), $runs runs; milliseconds"
printf '%-40s %8s %8s %8s\n' '' median least most
for count in 10 150 1000; do
	root=$place/$count
	mkdir -p "$root/home/e-smith/db" "$root/etc" "$root/etc/e-smith/events/actions"
	records "$count" >"$root/home/e-smith/db/configuration"
	for name in one two three; do
		template "$root/etc/e-smith/templates/etc" "$name"
		mkdir -p "$root/etc/e-smith/events/three/templates2expand/etc" "$root/etc/e-smith/events/none"
		: >"$root/etc/e-smith/events/three/templates2expand/etc/$name"
		printf '#!/bin/sh\nexit 0\n' >"$root/etc/e-smith/events/actions/$name"
		chmod +x "$root/etc/e-smith/events/actions/$name"
		ln -s "../actions/$name" "$root/etc/e-smith/events/three/S50$name"
		ln -s "../actions/$name" "$root/etc/e-smith/events/none/S50$name"
	done
	{
		printf '%s records: expand-template\tESMITH_ROOT=%s\t%s\t/etc/one\n' "$count" "$root" "$place/expand-template"
		printf '%s records: event, 3 templates\tESMITH_ROOT=%s\t%s\tthree\n' "$count" "$root" "$place/signal-event"
		printf '%s records: event, 3 actions only\tESMITH_ROOT=%s\t%s\tnone\n' "$count" "$root" "$place/signal-event"
	} >>"$place/lines"
done
printf 'an empty process\tA=B\t/bin/true\n' >>"$place/lines"
"$target/release/examples/turns" "$runs" <"$place/lines"

echo "one event, 10,000 records:"
for targets in 10 100 1000; do
	root=$place/many-$targets
	mkdir -p "$root/home/e-smith/db" "$root/etc" "$root/etc/e-smith/events/many/templates2expand/etc"
	records 10000 >"$root/home/e-smith/db/configuration"
	for i in $(seq "$targets"); do
		template "$root/etc/e-smith/templates/etc" "t$i"
		: >"$root/etc/e-smith/events/many/templates2expand/etc/t$i"
	done
	for turn in new unchanged; do
		begin=$(date +%s%N)
		ESMITH_ROOT=$root "$place/signal-event" many
		printf '%-40s %8d\n' "$targets targets of 10 fragments, $turn" $((($(date +%s%N) - begin) / 1000000))
	done
done
