#!/usr/bin/env bash
# The sizes that are too long for `make test`: hours, by hand, as root.
# usage: tests/large.sh [PART...]     (all when told nothing)   LARGE_LOG=DIR: where each part's output goes
#   kill    500 passes killed at a place, 500 at a moment, and 50 engines, in changes made up from a seed
#   places  a kill at each place of each kind of change
#   calls   5,000 passes killed at a system call
#   race    500 times twenty passes that are started together
#   liar    each call, each way of an engine to stall, cut or lie
#   model   200 lives of 10,000 actions on the host in memory
# KILLS, CALLS, RACES, LIVES and ACTIONS say other numbers. Ends with a line for each part, and with 1 when one failed.
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO=${CARGO:-cargo}
log=${LARGE_LOG:-$(mktemp -d /tmp/wharf-large.XXXXXX)}
export WHARF_REQUIRE_ENGINE=1
[ $# -gt 0 ] || set -- kill places calls race liar model
for part; do
	case $part in
	kill | places | calls | race | liar | model) ;;
	*)
		echo "large.sh: no part '$part'; parts: kill places calls race liar model" >&2
		exit 2
		;;
	esac
done

it() { "$CARGO" test --locked --test it -- --nocapture "$@"; }

run() {
	case $1 in
	kill)
		kills=${KILLS:-500}
		WHARF_KILLS=$kills WHARF_ENGINE_KILLS=$(((kills + 9) / 10)) it engine::kill::a_kill_at_any_moment \
			engine::kill::a_kill_at_any_step engine::kill::an_engine_that_is_killed
		;;
	places) it --ignored engine::kill::a_kill_at_each_place ;;
	calls) WHARF_KILLS=${CALLS:-5000} it engine::kill::a_kill_at_any_system_call ;;
	race) WHARF_RACE_ROUNDS=${RACES:-500} it engine::chaos::twenty_passes ;;
	liar) WHARF_WHOLE_MATRIX=1 it engine::liar ;;
	model)
		# Not as the release is built, which takes longer than a hundred lives.
		CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
			WHARF_MODEL_SEEDS=${LIVES:-200} WHARF_MODEL_ACTIONS=${ACTIONS:-10000} \
			"$CARGO" test --locked --release --lib -- --nocapture tests::model
		;;
	esac
}

failed=0
for part; do
	begun=$SECONDS
	if run "$part" >"$log/$part" 2>&1; then how=passed; else how=FAILED failed=1; fi
	echo "$part: $how in $((SECONDS - begun)) s: $(grep -h '^test result' "$log/$part" | tail -1), $log/$part"
done
exit $failed
