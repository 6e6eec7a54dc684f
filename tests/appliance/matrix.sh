#!/usr/bin/env bash
# What is exposed, asked by real packets inside a booted Debian: its own systemd, engines and firewalld.
# usage: matrix.sh [bookworm|trixie] [PART...]
#
# Parts (all, when none is named):
#   tests     the tests of engine, guard and exposure, with the engines of that release
#   gateway   the appliance as the gateway: its firewalld and its dockerd are reloaded, stopped and
#             started, while somebody on the Internet tries the private ports all the time
#   podman    the same with Podman behind the podman.socket of systemd
#   engines   that each engine shows what it was told, that a pass mends what others change, and that a
#             replacement has a way back, with the engines of that release
#
# Needs root. `make appliance` calls it for both releases. The base file system is kept in the build's
# target directory (APPLIANCE_CACHE), the rest is removed at the end, also after a failure; the logs of
# the gateway and of the probers can be had in a directory (APPLIANCE_LOGS). MIRROR is Debian's.
set -euo pipefail

usage() {
	echo "usage: matrix.sh [bookworm|trixie] [tests|gateway|podman|engines]..." >&2
	exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
SUITE=${1:-bookworm}
shift || true
parts=${*:-tests gateway podman engines}
case $SUITE in bookworm | trixie) ;; *) usage ;; esac
for part in $parts; do
	case $part in tests | gateway | podman | engines) ;; *) usage ;; esac
done
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$source_dir/target}
CACHE=${APPLIANCE_CACHE:-$CARGO_TARGET_DIR/appliance}
MORE=,podman,netavark,aardvark-dns,conmon

# shellcheck source=tests/appliance/appliance.sh
. "$here/appliance.sh"
# shellcheck source=tests/appliance/gateway.sh
. "$here/gateway.sh"

[ "$(id -u)" = 0 ] || fail "an appliance needs root" "sudo $0 $SUITE"

say() { printf '\n== %s (%ss)\n' "$*" "$SECONDS"; }

# ---- what is put in

# The paths of the program under test and of tests/image are compiled into the test program, so all
# three must be seen inside where they are here.
build() {
	say "Building the test program"
	local found
	found=$(cd "$source_dir" && ${CARGO:-cargo} test --locked --test it --no-run --message-format=json)
	executable() { # PATTERN
		sed -n "s,.*\"executable\":\"\\([^\"]*/$1\\)\".*,\\1,p" <<<"$found" | tail -n 1
	}
	it=$(executable 'it-[0-9a-f]*')
	wharf=$(executable wharf)
	db=$(executable db)
	if ! [ -e "$it" ] || ! [ -e "$wharf" ] || ! [ -e "$db" ]; then
		fail "cargo names no test program" "cargo test --test it --no-run --message-format=json"
	fi
	BINDS="--bind-ro=$it --bind-ro=$wharf --bind-ro=$source_dir/tests/image"
	# The services of wharf find it where its package would put it.
	BINDS="$BINDS --bind-ro=$wharf:/usr/sbin/wharf --bind-ro=$db:/usr/bin/db"
}

install_wharf() { # ROOT
	local unit
	for unit in wharfd signal-event expand-template; do
		ln -s wharf "$1/usr/sbin/$unit"
	done
	ln -s db "$1/usr/bin/config"
	cp "$source_dir"/systemd/*.service "$1/etc/systemd/system/"
	# Enabled before the first boot, as after an installation; it needs no network for it.
	systemctl --root="$1" --quiet enable wharf-guard.service wharfd.service
	"$source_dir/tests/image/build.sh" "$1/root/image.tar"
}

versions() {
	# shellcheck disable=SC2016 # for the shell inside
	inside sh -c '
		echo "systemd $(systemctl --version | sed -n "1s/[^ ]* \([0-9]*\).*/\1/p"), firewalld $(firewall-cmd --version)"
		nft --version; iptables --version; dockerd --version; podman --version'
}

tests() {
	say "The tests that prove exposure, with the engines of $SUITE"
	as_service env WHARF_REQUIRE_ENGINE=1 TMPDIR=/var/tmp "$it" --show-output --test-threads 2 \
		engine::matrix engine::network engine::guard engine::exposure
}

engines() {
	say "The tests that prove passes, with the engines of $SUITE"
	as_service env WHARF_REQUIRE_ENGINE=1 TMPDIR=/var/tmp "$it" --test-threads 2 \
		engine::echo engine::way_back engine::drift engine::pass::whose
	as_service env WHARF_REQUIRE_ENGINE=1 WHARF_TEST_ENGINE=podman TMPDIR=/var/tmp "$it" --test-threads 2 \
		engine::echo engine::way_back engine::drift engine::pass::whose
}

# Each part has a machine of its own: what one engine leaves in the packet filter is not to help, or to
# hinder, the next one.
one() { # PART
	say "A machine of $SUITE for '$1'"
	prepare
	install_wharf "$work/root"
	[ "$1" != podman ] || ln -s /dev/null "$work/root/etc/systemd/system/docker.service"
	boot
	versions
	"$1"
}

build
root_file_system "$SUITE" "$(base_of "$SUITE")"
for part in $parts; do
	(one "$part")
done
say "Done"
