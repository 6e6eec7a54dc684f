#!/usr/bin/env bash
# Builds these sources as the version after theirs, for a test of an upgrade.
# usage: next.sh DIRECTORY          gets the programs wharf and db
#
# A copy of the sources has another number; nothing else differs. The build directory is shared, so that
# dependencies are built once, and holds these sources' own programs again at the end.
set -euo pipefail

out=${1:?usage: next.sh DIRECTORY}
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$source_dir/target}
cargo=${CARGO:-cargo}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source_dir/Cargo.toml" | head -n 1)
next=${version%.*}.$((${version##*.} + 1))
copy=$CARGO_TARGET_DIR/appliance/next-sources
mkdir -p "$copy" "$out"
# With their times, so that cargo sees what is built already.
tar -C "$source_dir" --exclude=./target --exclude=./.git --exclude=./fuzz --exclude=./demo-root -cf - . |
	tar -C "$copy" --recursive-unlink -xf -
sed -i "0,/^version = \"$version\"\$/s//version = \"$next\"/" "$copy/Cargo.toml"
sed -i '/^name = "wharf"$/{n;s/.*/version = "'"$next"'"/}' "$copy/Cargo.lock"
for file in Cargo.toml Cargo.lock; do
	touch -r "$source_dir/$file" "$copy/$file"
done
# With an example, which takes the dependencies as the tests have built them: alone, the programs would have
# them built anew with fewer features.
(cd "$copy" && "$cargo" build --quiet --locked --bins --example turns)
for program in wharf db; do
	cp "$CARGO_TARGET_DIR/debug/$program" "$out/$program"
done
(cd "$source_dir" && "$cargo" test --quiet --locked --test it --no-run)
[ "$("$out/wharf" --version)" = "wharf $next" ]
[ "$("$CARGO_TARGET_DIR/debug/wharf" --version)" = "wharf $version" ]
