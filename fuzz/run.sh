#!/bin/sh
# Builds the fuzz targets with the stable compiler and runs each for a while.
# usage: run.sh [TARGET...]      all of them when none is named
#
# FUZZ_SECONDS  how long each runs (60)
# FUZZ_JOBS     how many at a time (one for each processor)
# CARGO, CARGO_TARGET_DIR  as for cargo; inputs that were found are kept below the latter
#
# A target fails by a panic, by an input that takes longer than a second, or by more memory: 64 MiB
# of our own (fuzz/src/lib.rs counts), 512 MiB with the fuzzer's own tables. The input is kept, and
# the command that repeats it is printed.
set -eu

cd "$(dirname "$0")"
cargo=${CARGO:-cargo}
seconds=${FUZZ_SECONDS:-60}
# Told to cargo alone: each target is run by this script again, which has the same place then.
place=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz

host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz passes where no sanitizer is asked for. With --target, cargo keeps these flags from
# build scripts, which are linked without the fuzzer.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-pc-table"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTFLAGS

# Not --locked: a new dependency of the program is added to our lock file, the rest of it stays.
"$cargo" build --bins --target "$host" --target-dir "$place"
if [ $# = 0 ]; then
	cd corpus
	set -- *
	cd ..
fi

longest() { # TARGET: its longest input in bytes
	case $1 in
	# Many records against each other, and properties set one after the other as the original does.
	desired | changes | templates) echo 4096 ;;
	schema) echo 8192 ;;
	*) echo 65536 ;;
	esac
}

figure() { # NAME, from the end of the log
	sed -n "s/^stat::$1: *//p" "$log"
}

limits="-timeout=1 -rss_limit_mb=512"

# A machine that stood still for a second is no fault of the target.
repeats() { # PROGRAM ARTIFACT
	# shellcheck disable=SC2086 # several words
	if "$1" $limits "$2" >/dev/null 2>&1; then return 1; fi
}

if [ $# -gt 1 ]; then
	printf '%s\n' "$@" | xargs -n 1 -P "${FUZZ_JOBS:-$(nproc)}" ./run.sh || {
		echo "error: fuzzing found faults" >&2
		exit 1
	}
	exit 0
fi

failed=
for target in "$@"; do
	program=$place/$host/debug/$target
	found=$place/corpus/$target
	artifacts=$place/artifacts/$target
	log=$place/$target.log
	rm -rf "$artifacts"
	mkdir -p "$found" "$artifacts"
	status=0
	# shellcheck disable=SC2086 # several words
	RUST_BACKTRACE=1 "$program" "$found" "corpus/$target" $limits \
		"-max_len=$(longest "$target")" "-max_total_time=$seconds" \
		"-artifact_prefix=$artifacts/" -print_final_stats=1 >"$log" 2>&1 || status=$?

	said="$(figure number_of_executed_units) inputs, $(figure average_exec_per_sec) a second"
	said="$said, $(figure peak_rss_mb) MB"
	input=$(find "$artifacts" -type f ! -name 'slow-unit-*' | head -n 1)
	case $status:$input in
	0:*) echo "fuzz $target: no fault; $said" ;;
	*:*/timeout-*)
		if repeats "$program" "$input"; then
			failed="$failed $target"
			echo "fuzz $target: an input takes longer than a second; $said" >&2
			echo "  repeat: $program -timeout=1 $input" >&2
		else
			echo "fuzz $target: no fault that repeats (a stop of a second did not); $said"
		fi
		;;
	*)
		failed="$failed $target"
		tail -n 60 "$log" >&2
		echo "fuzz $target: failed with status $status; $said" >&2
		echo "  repeat: $program ${input:-(no input was kept, see $log)}" >&2
		;;
	esac
done
[ -z "$failed" ] || {
	echo "error: fuzzing found faults:$failed" >&2
	exit 1
}
