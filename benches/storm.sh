#!/usr/bin/env bash
# Signals one event many times at once: how often its handlers run, and whether one of the signals is lost.
# usage: storm.sh [SIGNALS] [SECONDS_OF_A_RUN]; without seconds the first run lasts as long as the storm
#
# Every signal is counted before it is made; the run that answers it must have begun after that, so the
# last run has to see them all. Makes and removes a directory of its own below BENCH_DIR.
set -euo pipefail
cd "$(dirname "$0")/.."

signals=${1:-10000}
seconds=${2:-}
wharf=${WHARF:-${CARGO_TARGET_DIR:-$PWD/target}/release/wharf}
[ -x "$wharf" ] || "${CARGO:-cargo}" build --release --locked --quiet --bin wharf
place=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/bench-storm.XXXXXX")
trap 'rm -rf "$place"' EXIT
unset DBPATH WHARF_STORE ESMITH_ROOT WHARF_EVENT
export WHARF_ROOT=$place DOCKER_HOST=unix:///nowhere/docker.sock

mkdir -p "$place/etc/wharf/events/storm"
cat >"$place/etc/wharf/events/storm/S50run" <<END
#!/bin/sh
wc -c <$place/signalled >>$place/seen
if [ -n "$seconds" ]; then sleep $seconds; else while ! test -e $place/over; do sleep 0.1; done; fi
END
chmod 755 "$place/etc/wharf/events/storm/S50run"
: >"$place/signalled"

began=${EPOCHREALTIME/./}
for ((n = 0; n < signals; n++)); do
	(
		printf . >>"$place/signalled"
		exec "$wharf" signal-event storm 2>>"$place/told"
	) &
done
signalled=${EPOCHREALTIME/./}
# The last ones have been started, and need a moment until they wait.
sleep 3
: >"$place/over"
failed=0
while :; do
	status=0
	wait -n || status=$?
	[ "$status" = 127 ] && break
	[ "$status" = 0 ] || failed=$((failed + 1))
done
ended=${EPOCHREALTIME/./}

runs=$(wc -l <"$place/seen")
last=$(tail -n 1 "$place/seen")
echo "$signals signals begun in $(((signalled - began) / 1000)) ms, all answered after $(((ended - began) / 1000)) ms"
echo "a run takes ${seconds:-as long as the storm}${seconds:+ s}: $runs runs; $failed signals failed; $((signals - last)) lost"
[ "$failed" = 0 ] && [ "$last" = "$signals" ]
