# A host with e-smith's files, and one with legacy iptables: wharfd with the drop-in for both. To be sourced.
#
# The records move to flat files of a group of their own and back, so that the next step finds all as it was.
# shellcheck shell=bash disable=SC2154

FLAT=/home/e-smith/db
DROP_IN=/etc/systemd/system/wharfd.service.d/esmith.conf

esmith() {
	local process
	inside groupadd --system admin
	inside install -d -m 0750 -g admin "${FLAT%/*}" "$FLAT"
	install -D -m 0644 "$source_dir/systemd/wharfd-esmith.conf" "$work/root$DROP_IN"
	inside systemctl daemon-reload
	moved sqlite:/var/lib/wharf/config.sqlite "esmith:$FLAT"
	inside sh -c "chgrp admin $FLAT/*; chmod 0640 $FLAT/*"
	inside systemctl start wharfd
	must "systemd finds fault with the drop-in" drop_in_is_right
	must "wharfd may more than it needs for e-smith" inside systemd-analyze security --no-pager --threshold=28 wharfd.service >"$work/security.esmith"
	process=$(inside systemctl show -P MainPID wharfd)
	must "wharfd is not confined as the drop-in says" inside grep -qx 'CapBnd:\s*0000000000083003' "/proc/$process/status"
	must "wharf status is not 0 with flat files" until_true 60 as_desired
	must "the move made a container anew" same_ids
	flat_files_on_the_bus
	say "wharfd-esmith.conf ($(sed -n 's/.*Overall exposure.*: \([0-9.]*\).*/\1/p' "$work/security.esmith")): flat files of another group, written over D-Bus beside who locks them"
	legacy_iptables
	moved "esmith:$FLAT" sqlite:/var/lib/wharf/config.sqlite
	inside rm -r "${FLAT%/*}" "${DROP_IN%/*}" /etc/sysconfig/wharf
	[ ! -e "$work/sysconfig" ] || cp "$work/sysconfig" "$work/root/etc/sysconfig/wharf"
	inside groupdel admin
	inside systemctl daemon-reload
	# What iptables has loaded stays until the next boot.
	power_off
	boot
	must "not everybody is in with nftables again" until_true 60 all_are_in
	must "somebody is in with nftables again" all_are_out
	must "wharf status is not 0 with nftables again" until_true 30 as_desired
	all_ids >"$work/ids"
}

moved() { # FROM TO: the records, while wharfd rests
	inside systemctl stop wharfd
	[ ! -e "$work/root/etc/sysconfig/wharf" ] || [ -e "$work/sysconfig" ] || cp "$work/root/etc/sysconfig/wharf" "$work/sysconfig"
	case $2 in sqlite:*) inside rm -f "${2#sqlite:}" ;; esac
	inside wharf store migrate --from "$1" --to "$2" --switch >>"$work/log" 2>&1 || broken "the records do not move to $2"
}

drop_in_is_right() {
	local found
	inside systemctl show -P DropInPaths wharfd | grep -qF "$DROP_IN" || return 1
	found=$(inside systemd-analyze verify --man=no wharfd.service 2>&1 | grep -i wharf || true)
	[ -z "$found" ] || { echo "$found" >&2; return 1; }
}

flat_files_on_the_bus() {
	local begun
	set_on_the_bus MaxMemory 88 || broken "a record in a flat file is not written over D-Bus"
	must "the change is not in the flat file" inside grep -q '^site=service|.*|MaxMemory|88\(|\|$\)' "$FLAT/docker_containers"
	must "the flat file is $(inside stat -c '%U %G %a' "$FLAT/docker_containers")" [ "$(inside stat -c '%U %G %a' "$FLAT/docker_containers")" = "root admin 640" ]
	must "the change is not made" until_true 30 limit_is site $((88 << 20))
	# e-smith's Perl takes its lock away after use: who opened it before believes to be alone, for as long as it likes.
	inside perl -e 'use Fcntl ":flock"; open F, ">>", $ARGV[0]; flock F, LOCK_EX; unlink $ARGV[0];
		open A, ">/run/alone"; close A; sleep 4' "$FLAT/docker_containers.lock" &
	until_true 10 inside test -e /run/alone || broken "nobody has the lock"
	begun=$(date +%s%N)
	set_on_the_bus MaxMemory 89 || broken "a record is not written after somebody else has let go of it"
	[ $((($(date +%s%N) - begun) / 1000000)) -ge 2000 ] || broken "a lock without a name keeps nobody out"
	inside rm /run/alone
	# Who keeps it for longer is named.
	inside flock "$FLAT/docker_containers.lock" sleep 15 &
	sleep 1
	! set_on_the_bus MaxMemory 90 || broken "a record was written while somebody else had its lock"
	grep -q "flock" "$work/answer" || { cat "$work/answer" >&2; broken "who has the lock is not named"; }
	wait $!
	set_on_the_bus MaxMemory 96 || broken "a record in a flat file is not written any more"
	must "the last change is not made" until_true 30 limit_is site $((96 << 20))
}

set_on_the_bus() { # PROPERTY VALUE: of the record site
	# shellcheck disable=SC2086 # BUS is many words
	inside busctl --timeout=60 call $BUS SetProperties "ssa{ss}" docker_containers site 1 "$1" "$2" >"$work/answer" 2>&1
}

# The guard in chains of legacy iptables, as a host without nftables has it, at a boot and when somebody flushes it.
legacy_iptables() {
	local program begun
	for program in iptables ip6tables; do
		inside update-alternatives --quiet --set $program /usr/sbin/$program-legacy
	done
	inside config set docker service Firewall iptables
	must "the guard does not move to iptables" until_true 60 chains_are_there
	# Docker's rules of before are nftables'.
	power_off
	boot
	must "wharfd does not run beside legacy iptables" inside systemctl --quiet is-active wharfd
	must "the chains were not loaded at the boot" [ "$(inside systemctl show -P Result wharf-guard-iptables)" = success ]
	must "not everybody is in by legacy iptables" until_true 60 all_are_in
	must "somebody is in by legacy iptables" all_are_out
	must "wharf status is not 0 by legacy iptables" until_true 30 as_desired
	must "the guard is in two filters" no_table
	begun=$(date +%s%N)
	inside iptables -t mangle -F
	inside ip6tables -t mangle -F
	until_true 20 chains_are_there || broken "the chains do not come back"
	begun=$((($(date +%s%N) - begun) / 1000000))
	must "not everybody is in after a flush" until_true 30 all_are_in
	must "somebody is in after a flush" all_are_out
	inside db docker_containers setprop site access private
	must "a change does not get into the chains" until_true 30 is_out wan http://198.51.100.1:8081/ 2>>"$work/log"
	inside db docker_containers setprop site access public
	must "a change back does not get into the chains" until_true 30 all_are_in
	say "legacy iptables in confinement: closed at the boot, back $begun ms after a flush"
	inside config delete docker
	must "the guard does not move back to nftables" until_true 60 inside nft list table inet wharf >/dev/null 2>&1
	for program in iptables ip6tables; do
		inside update-alternatives --quiet --auto $program
	done
}

chains_are_there() {
	inside iptables-legacy -t mangle -S 2>/dev/null | grep -q -- '-j WHARF-' &&
		inside ip6tables-legacy -t mangle -S 2>/dev/null | grep -q -- '-j WHARF-'
}

no_table() { ! inside nft list table inet wharf >/dev/null 2>&1; }
