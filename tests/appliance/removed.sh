# What a removal leaves: the host as it was before, records and data. To be sourced.
# shellcheck shell=bash disable=SC2154

# What counts: rules without counters and handles, settings of the kernel, interfaces, routes, units, files.
remember() { # NAME
	local to=$work/$1
	mkdir -p "$to"
	until_true 30 settled_rules "$to/rules" || broken "the rules do not come to rest"
	inside sh -c 'for file in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding \
		/proc/sys/net/bridge/bridge-nf-call-ip*tables /proc/sys/net/ipv4/conf/*/rp_filter; do
			case $file in */veth*) continue ;; esac
			[ ! -e $file ] || echo "$file $(cat $file)"
		done' >"$to/sysctls"
	inside ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/' | sort >"$to/links"
	inside ip route | sort >"$to/routes"
	inside systemctl list-unit-files --no-legend --no-pager | grep wharf >"$to/units" || true
	# What runs writes below /var; of it only what is ours is looked at.
	(cd "$work/root" && find etc usr root srv home opt -xdev \( -type f -o -type l \) -printf '%p %s %l %m %u\n' | sort) >"$to/files"
}

# An engine that starts writes many rules, and a list of rules that change meanwhile fails.
settled_rules() { # FILE
	inside nft -s list ruleset >"$1" 2>/dev/null && sleep 0.5 && inside nft -s list ruleset 2>/dev/null | cmp -s - "$1"
}

removed() {
	local what
	# Docker's own rules depend on what was before its start, and are now what they are after any boot.
	power_off
	boot
	must "not everybody is in before the removal" until_true 60 all_are_in
	inside systemctl stop wharfd
	inside wharf teardown >>"$work/log" 2>&1 || broken "wharf teardown failed"
	inside systemctl --quiet disable --now wharfd wharf-guard wharf-guard-iptables
	make --no-print-directory -s -C "$source_dir" uninstall DESTDIR="$work/root"
	inside systemctl daemon-reload
	remember after
	for what in rules sysctls links routes units; do
		diff "$work/before/$what" "$work/after/$what" >&2 || broken "left behind: $what"
	done
	diff <(kept "$work/before/files") <(kept "$work/after/files") >&2 || broken "left behind: files"
	must "the records are gone" test -s "$work/root/var/lib/wharf/config.sqlite"
	must "the data is gone" grep -rq 'demo-db ready' "$work/root/var/lib/wharf" "$work/root/srv" "$work/root/home"
	say "removed: rules, sysctls, links, routes, units and files as before; records and data are kept"
}

# Settings and rendered files are the administrator's; users and groups outlive their package, as everywhere.
kept() { # FILE
	grep -Ev '^etc/(wharf/|sysconfig/|(passwd|group|shadow|gshadow|subuid|subgid)-? |firewalld/|machine-id|resolv.conf|ld.so.cache)' "$1"
}
