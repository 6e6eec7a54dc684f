#!/usr/bin/env bash
# Measures how many durable changes a second many processes make at once, on both stores, and counts
# that none is missing.
# usage: writers.sh [PROCESSES] [CHANGES OF EACH]
#
# Each change is a process of its own. "one record": every change adds a property to the same record, which
# holds all of them in the end; "many": each process changes a property of a record of its own.
# Makes and removes a directory of its own below BENCH_DIR, which should be on a disk.
set -euo pipefail
cd "$(dirname "$0")/.."

processes=${1:-50} each=${2:-200}
target=${CARGO_TARGET_DIR:-$PWD/target}
${CARGO:-cargo} build --release --locked --quiet --bin db
place=$(mktemp -d "${BENCH_DIR:-$PWD}/bench-writers.XXXXXX")
trap 'rm -rf "$place"' EXIT
ln -s "$target/release/db" "$place/db"
export db=$place/db each
unset DBPATH WHARF_STORE WHARF_ROOT ESMITH_ROOT

# shellcheck disable=SC2016
one='for i in $(seq "$each"); do "$db" t setprop one "p$0_$i" "$i"; done'
# shellcheck disable=SC2016
many='for i in $(seq "$each"); do "$db" t setprop "k$0" p "$i"; done'

echo "$(nproc) CPUs, $(df --output=fstype "$place" | tail -n 1), $processes processes, $each changes each"
for store in sqlite esmith; do
	export WHARF_ROOT=$place/$store
	mkdir -p "$WHARF_ROOT/db"
	if [ "$store" = esmith ]; then export WHARF_STORE=esmith:$WHARF_ROOT/db; fi
	"$db" t set one service
	for i in $(seq "$processes"); do "$db" t set "k$i" service; done
	for what in one many; do
		begin=$(date +%s%N)
		seq "$processes" | xargs -P "$processes" -n 1 bash -c "${!what}"
		end=$(date +%s%N)
		case $what in
		one) there=$(($("$db" t show one | wc -l) - 1)) wanted=$((processes * each)) ;;
		many) there=$("$db" t print | grep -c "=service|p|$each\$") wanted=$processes ;;
		esac
		[ "$there" -eq "$wanted" ] || { echo "$store, $what: $there of $wanted are there" >&2; exit 1; }
		echo "$store, $what: $((processes * each * 1000000000 / (end - begin))) changes a second"
	done
done
