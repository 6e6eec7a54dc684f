# A booted Debian with the service as `make install` installs it, and how a step says what it found. To be
# sourced after appliance.sh.
#
# `first_machine` boots one, with Docker and Apache as their packages leave them; `installed` puts the service
# in. `say` is a line with the seconds since the beginning, `must` and `broken` end the test.
# shellcheck shell=bash disable=SC2154

[ "$(id -u)" = 0 ] || fail "an appliance needs root" "sudo $0"

say() { printf '%5ss  %s\n' "$SECONDS" "$*"; }

must() { # WORDS COMMAND...
	local words=$1
	shift
	"$@" || broken "$words"
}

broken() { # WORDS: what must not be
	inside journalctl --no-pager -q -u wharfd -u wharf-guard -n 40 >&2 || true
	fail "$1" "the log of wharfd is above; APPLIANCE_LOGS=DIR keeps all others"
}

first_machine() {
	local base
	base=$(base_of "$SUITE")
	[ -e "$base" ] || echo "making a root file system of $SUITE"
	root_file_system "$SUITE" "$base"
	prepare
	furnish_more
	first_boot
}

# As the packages of the neighbours leave it: they run, and firewalld is not wanted yet.
furnish_more() {
	systemctl --root="$work/root" --quiet disable firewalld
	ln -sf ../mods-available/proxy.load ../mods-available/proxy_http.load "$work/root/etc/apache2/mods-enabled/"
	echo "ServerName $NAME" >"$work/root/etc/apache2/conf-enabled/name.conf"
	"$source_dir/tests/image/build.sh" "$work/root/root/image.tar"
	useradd --root "$work/root" --no-create-home stranger
	useradd --root "$work/root" --no-create-home reader
}

first_boot() {
	boot
	must "Docker does not answer" until_true 30 inside curl -sS --fail -o /dev/null --unix-socket /run/docker.sock http://engine/_ping
	remember before
	# shellcheck disable=SC2016 # for the shell inside
	say "booted: $(inside sh -c '
		echo "systemd $(systemctl --version | sed -n "1s/[^ ]* \([0-9]*\).*/\1/p")," \
			"$(dockerd --version | sed "s/,.*//"), firewalld $(dpkg-query -W -f "\${Version}" firewalld)"')"
}

install_wharf() { # BUILD
	make --no-print-directory -s -C "$source_dir" install BUILT="$1" DESTDIR="$work/root"
	inside systemd-sysusers >>"$work/log" 2>&1
	inside systemd-tmpfiles --create wharf.conf
	inside systemctl daemon-reload
}

installed() {
	install_wharf "${BUILT:-$CARGO_TARGET_DIR/debug}"
	inside usermod -aG wharf reader
	inside systemctl --quiet preset wharf-guard wharf-guard-iptables wharfd
	inside systemctl start wharfd
	must "wharfd does not run" inside systemctl --quiet is-active wharfd
	# shellcheck disable=SC2016 # for the shell inside
	must "systemd finds fault with a unit" inside sh -c '
		found=$(systemd-analyze verify --man=no /usr/lib/systemd/system/wharf*.service /usr/lib/systemd/system/wharf*.timer 2>&1 |
			grep wharf) && echo "$found" >&2 && exit 1 || true'
	say "installed from make install"
}
