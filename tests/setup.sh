#!/bin/sh
# Installs what the demo or the tests need and this machine lacks, with its own package manager.
# usage: setup.sh [demo|test|bench|appliance|emulated]
#
# Says nothing and does nothing when all is there. Starts no service, also where installing a package
# would. Knows apt-get (Debian, Ubuntu), zypper (openSUSE) and dnf (Rocky, Fedora); elsewhere it names
# what is missing.
#
# To need another program: add a line to `needs`, and its package to each of the three tables.
set -eu

list=${1:-test}
case $list in
demo | test | bench | appliance | emulated) ;;
*)
	echo "usage: setup.sh [demo|test|bench|appliance|emulated]" >&2
	exit 2
	;;
esac

RUST=1.89
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin
missing=

fail() { # MESSAGE HINT
	echo "error: $1" >&2
	echo "  hint: $2" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		fail "installing packages needs root, and there is no sudo" "run as root: $0 $list"
	fi
}

has() { # any of the programs named
	for program in "$@"; do
		command -v "$program" >/dev/null && return 0
	done
	return 1
}

static_busybox() {
	# A static program has no interpreter for the loader to read: ldd refuses it.
	for file in "${BUSYBOX:-}" /bin/busybox /usr/bin/busybox-static /usr/bin/busybox /usr/sbin/busybox /sbin/busybox; do
		if [ -x "$file" ] && ! ldd "$file" >/dev/null 2>&1; then
			return 0
		fi
	done
	return 1
}

netavark() { # Podman's network
	for file in /usr/lib/podman/netavark /usr/libexec/podman/netavark; do
		[ -x "$file" ] && return 0
	done
	return 1
}

polkitd() { # not a program for the command line
	for file in /usr/lib/polkit-1/polkitd /usr/libexec/polkit-1/polkitd /usr/libexec/polkitd; do
		[ -x "$file" ] && return 0
	done
	return 1
}

certificates() {
	for file in /etc/ssl/certs/ca-certificates.crt /etc/ssl/ca-bundle.pem /etc/pki/tls/certs/ca-bundle.crt; do
		[ -e "$file" ] && return 0
	done
	return 1
}

cargo_is_new() {
	has cargo || return 1
	version=$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p')
	[ -n "$version" ] || return 1
	[ "$(printf '%s\n%s\n' "$RUST" "$version" | sort -V | head -n 1)" = "$RUST" ]
}

needs() {
	missing=
	want engine has dockerd
	want engine has containerd
	want nftables has nft
	want iptables has iptables
	want iproute2 has ip
	want busybox static_busybox
	want curl has curl
	want certificates certificates
	want compiler has cc
	want headers test -e /usr/include/stdio.h
	want make has make
	want procps has ps
	want util-linux has nsenter
	want util-linux has setpriv
	want tar has tar
	if [ "$list" = bench ]; then
		want iperf3 has iperf3
	fi
	if [ "$list" = test ]; then
		want podman has podman
		want podman netavark
		want podman has runc
		want apache has apache2 httpd httpd2
		want nginx has nginx
		want dnsmasq has dnsmasq
		want yaml python3 -c 'import yaml'
		want dash has dash
		want dbus has dbus-daemon
		want polkitd polkitd
		want firewalld has firewalld
		want systemd has systemd-analyze
		want c++ has c++
		want strace has strace
		want perl has perl
		want bash has bash
		want groff has groff
		want zsh has zsh
		# Rocky has none.
		has dnf || want fish has fish
	fi
	# The test of the service boots a Debian; others have no package that makes one.
	if [ "$list" = emulated ]; then
		want qemu has qemu-system-x86_64
		want e2fsprogs has mkfs.ext4
		want ssh has ssh
	fi
	if [ "$list" = appliance ] || [ "$list" = emulated ] || { [ "$list" = test ] && has apt-get; }; then
		want mmdebstrap has mmdebstrap
		want nspawn has systemd-nspawn
		want zstd has zstd
		want python3 has python3
		want passwd has useradd
	fi
}

want() { # WORD TEST ARGUMENTS...
	word=$1
	shift
	"$@" 2>/dev/null && return 0
	case " $missing " in
	*" $word "*) ;;
	*) missing="$missing $word" ;;
	esac
}

# What each word is called here.
package() { # MANAGER WORD
	case $1:$2 in
	apt-get:engine) echo docker.io containerd ;;
	zypper:engine) echo docker containerd ;;
	apt-get:podman) echo podman netavark aardvark-dns runc ;;
	*:podman) echo podman netavark runc ;;
	apt-get:busybox | zypper:busybox) echo busybox-static ;;
	dnf:busybox) echo busybox ;;
	apt-get:apache | zypper:apache) echo apache2 ;;
	dnf:apache) echo httpd ;;
	apt-get:dnsmasq) echo dnsmasq-base ;;
	apt-get:yaml) echo python3-yaml ;;
	zypper:yaml) echo python3-PyYAML ;;
	dnf:yaml) echo python3-pyyaml ;;
	zypper:dbus) echo dbus-1 ;;
	dnf:dbus) echo dbus-daemon ;;
	dnf:iproute2) echo iproute ;;
	dnf:iptables) echo iptables-nft ;;
	zypper:polkitd | dnf:polkitd) echo polkit ;;
	*:certificates) echo ca-certificates ;;
	*:nspawn) echo systemd-container ;;
	apt-get:qemu) echo qemu-system-x86 ;;
	*:qemu) echo qemu-x86 ;;
	apt-get:ssh) echo openssh-client ;;
	*:ssh) echo openssh-clients ;;
	*:compiler) echo gcc ;;
	apt-get:c++) echo g++ ;;
	*:c++) echo gcc-c++ ;;
	apt-get:groff | dnf:groff) echo groff-base ;;
	apt-get:headers) echo libc6-dev ;;
	*:headers) echo glibc-devel ;;
	dnf:procps) echo procps-ng ;;
	*) echo "$2" ;;
	esac
}

packages() { # MANAGER
	for word in $missing; do
		package "$1" "$word"
	done
}

apt() {
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -o DPkg::Lock::Timeout=300 -q -y "$@"
}

with_apt() {
	# Debian starts what it installs unless this program says no.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy"
		trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
		trap 'exit 1' INT TERM
	fi
	apt update
	apt install --no-install-recommends "$@"
}

with_dnf() {
	for word in $missing; do
		# shellcheck disable=SC2046 # one package or more
		case $word in
		engine)
			as_root dnf -q -y install moby-engine containerd 2>/dev/null ||
				as_root dnf -q -y install docker-ce containerd.io ||
				fail "no package of a Docker engine is known here" \
					"add Docker's own repository for this distribution, then run again: $0 $list"
			;;
		busybox)
			as_root dnf -q -y install busybox 2>/dev/null ||
				{ as_root dnf -q -y install epel-release && as_root dnf -q -y install busybox; } ||
				fail "no package of busybox is known here" \
					"put a static busybox at /usr/bin/busybox, or name it: BUSYBOX=FILE"
			;;
		*) as_root dnf -q -y install $(package dnf "$word") ;;
		esac
	done
}

install_missing() {
	echo "installing:$missing"
	# shellcheck disable=SC2046 # many packages
	if has apt-get; then
		with_apt $(packages apt-get)
	elif has zypper; then
		as_root zypper --non-interactive --quiet install --no-recommends $(packages zypper)
	elif has dnf; then
		with_dnf
	else
		fail "missing:$missing; none of apt-get, zypper and dnf is here to install it" \
			"install them with this system's own tools, then run again"
	fi
}

install_cargo() {
	echo "installing: Rust $RUST or later"
	if has rustup; then
		:
	elif has apt-get; then
		with_apt rustup || true
	elif has zypper; then
		as_root zypper --non-interactive --quiet install --no-recommends cargo rust ||
			as_root zypper --non-interactive --quiet install --no-recommends rustup || true
	elif has dnf; then
		as_root dnf -q -y install cargo || true
		cargo_is_new || as_root dnf -q -y install rustup || true
	fi
	cargo_is_new && return 0
	if has rustup; then
		rustup toolchain install stable --profile minimal --component clippy,rustfmt &&
			rustup default stable
	elif has rustup-init; then
		rustup-init -y --profile minimal --component clippy,rustfmt
	fi
	cargo_is_new || fail "Rust $RUST or later is needed, and this distribution has none of it" \
		"install it with rustup, then run again: $0 $list"
}

needs
if [ -n "$missing" ]; then
	install_missing
	needs
	[ -z "$missing" ] || fail "still missing after the installation:$missing" \
		"install them by hand, then run again: $0 $list"
fi
cargo_is_new || install_cargo
