# Who may call what on D-Bus, and what becomes of many callers. To be sourced.
# shellcheck shell=bash disable=SC2154

# All methods: who may (all: members of the group wharf too), name, signature, arguments.
METHODS="all Plan as 0
all Status
all Exposure
all Explain sss site 8081 internet
all Schema s docker_containers
all History u 5
all Events u 5
all Logs su site 5
all Progress
all Keys s docker_containers
all GetRecord ss docker_containers site
root Apply
root ApplyRecords as 1 site
root Start s site
root Stop s victim
root Restart s victim
root Retry s victim
root Hold sb victim true
root SetRecord sssa{ss} docker_containers made service 1 status disabled
root SetProperties ssa{ss} docker_containers victim 1 MaxMemory 77
root DeleteProperties ssas docker_containers victim 1 MaxMemory
root DeleteRecord ss docker_containers victim"

called_by() { # USER QUESTION...: its status is that of the call
	local user=$1
	shift
	# shellcheck disable=SC2086 # BUS is many words
	as_user "$user" busctl --allow-interactive-authorization=no --timeout=60 call $BUS "$@"
}

as_user() { # USER COMMAND...
	local user=$1
	shift
	case $user in
	root) inside "$@" ;;
	# Root in a namespace of users that he made himself.
	namespace) inside setpriv --reuid stranger --regid stranger --init-groups unshare --user --map-root-user "$@" ;;
	*) inside setpriv --reuid "$user" --regid "$user" --init-groups "$@" ;;
	esac
}

every_record() { inside wharf export docker_containers | grep -v '^#'; }

refused() {
	local who call may user asked=0 refused=0
	# What introspection lists is what is asked about here.
	# shellcheck disable=SC2086 # BUS is many words
	diff <(cut -d ' ' -f 2 <<<"$METHODS" | sort) \
		<(inside busctl introspect $BUS | awk '$2 == "method" { print substr($1, 2) }' | sort) >&2 ||
		broken "the methods on the bus are not those that are asked about"
	inside db docker_containers set victim service status disabled Image demo-web MaxMemory 70
	until_true 30 inside wharf apply >>"$work/log" 2>&1 || broken "not as desired before the calls"
	every_record >"$work/records"
	all_ids >"$work/ids"
	for user in stranger namespace reader; do
		while read -r may call; do
			who="$user: $call"
			asked=$((asked + 1))
			# shellcheck disable=SC2086 # a call is many words
			if [ "$user:$may" = reader:all ]; then
				called_by "$user" $call >"$work/answer" 2>&1 </dev/null || { cat "$work/answer" >&2; broken "refused: $who"; }
			else
				! called_by "$user" $call >"$work/answer" 2>&1 </dev/null || broken "allowed: $who"
				refused=$((refused + 1))
				[ "$user" = namespace ] || grep -q "is not for user" "$work/answer" ||
					{ cat "$work/answer" >&2; broken "refused for another reason: $who"; }
			fi
		done <<<"$METHODS"
	done
	must "a refused call changed a record" diff "$work/records" <(every_record)
	must "a refused call changed a container" same_ids
	must "a refused call is not in the log" in_the_log
	while read -r may call; do
		# shellcheck disable=SC2086 # a call is many words
		called_by root $call >"$work/answer" 2>&1 </dev/null || { cat "$work/answer" >&2; broken "refused: root: $call"; }
	done <<<"$METHODS"
	inside db docker_containers delete made
	until_true 30 inside wharf apply >>"$work/log" 2>&1 || broken "not as desired after all calls"
	all_ids >"$work/ids"
	say "D-Bus: $asked calls by others, $refused refused, logged and without effect; root may all $(wc -l <<<"$METHODS")"
}

in_the_log() {
	local uid action
	uid=$(inside id -u stranger)
	for action in read apply control records; do
		inside journalctl --no-pager -q -u wharfd | grep -F "io.github.wharfd.$action" | grep -q "\b$uid\b" || return 1
	done
}

memory() { # kB of wharfd
	inside awk '/^VmRSS/ { print $2 }' "/proc/$(inside systemctl show -P MainPID wharfd)/status"
}

# Each client writes a record of its own, and the last word of each must be there; in between it asks.
hammered() {
	local client first middle last calls
	for ((client = 1; client <= 20; client++)); do
		inside db docker_containers set "client$client" service status disabled Image demo-web MaxMemory 1000
	done
	sleep 3
	first=$(memory)
	mkdir -p "$work/clients"
	for ((client = 1; client <= 20; client++)); do
		one_client "$client" >"$work/clients/$client" 2>"$work/clients/$client.err" &
	done
	sleep $((HAMMER_SECONDS / 2))
	middle=$(memory)
	wait_for_clients
	last=$(memory)
	calls=0
	for ((client = 1; client <= 20; client++)); do
		calls=$((calls + $(sed -n '$s/ .*//p' "$work/clients/$client")))
		[ ! -s "$work/clients/$client.err" ] || { cat "$work/clients/$client.err" >&2; broken "client $client was not served"; }
		[ "$(inside db docker_containers getprop "client$client" MaxMemory)" = "$(sed -n '$s/.* //p' "$work/clients/$client")" ] ||
			broken "the last word of client $client is lost"
		inside db docker_containers delete "client$client"
	done
	[ "$last" -lt $((middle + 4096)) ] || broken "memory grows: $first, $middle, $last kB"
	until_true 60 inside wharf apply >>"$work/log" 2>&1 || broken "not as desired after $calls calls"
	must "a container was touched" same_ids
	say "D-Bus: 20 clients, $calls calls in $HAMMER_SECONDS s, all answered; memory $first, $middle, $last kB"
}

# Prints calls that were answered, and the last value that was taken.
one_client() { # NUMBER
	# shellcheck disable=SC2016 # for the shell inside
	inside sh -c '
		call() { busctl --timeout=120 call "$@" >/dev/null || exit 1; }
		end=$(($(date +%s) + $1)) name=client$2 value=1000 calls=0
		shift 2
		while [ "$(date +%s)" -lt "$end" ]; do
			value=$((value + 1))
			call "$@" SetProperties "ssa{ss}" docker_containers "$name" 1 MaxMemory "$value"
			call "$@" GetRecord ss docker_containers "$name"
			call "$@" Keys s docker_containers
			calls=$((calls + 3))
			if [ $((value % 5)) = 0 ]; then
				call "$@" Status
				calls=$((calls + 1))
			fi
		done
		echo "$calls $value"' sh "$HAMMER_SECONDS" "$1" $BUS
}

wait_for_clients() {
	local job
	for job in $(jobs -p); do
		[ "$job" = "$nspawn" ] || wait "$job" || true
	done
}
