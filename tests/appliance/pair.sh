# The records of the test: a linked pair as a web application has it, and one page for all. To be sourced.
#
# `pair` writes them, `all_are_in` and `all_are_out` ask by real packets, `all_ids` names the containers.
# shellcheck shell=bash disable=SC2154

# shellcheck disable=SC2034 # for those who call
BUS="io.github.wharfd.Manager1 /io/github/wharfd/Manager1 io.github.wharfd.Manager1"

images() {
	local image
	for image in demo-web demo-db; do
		engine -X POST -H 'Content-Type: application/x-tar' --data-binary @/root/image.tar -o /dev/null \
			"http://engine/images/create?fromSrc=-&repo=$image&tag=latest&changes=CMD%20%5B%22%2Fbin%2F$image%22%5D"
	done
}

pair() {
	images
	record mysql demo-db TCPPort 3306 access private MaxMemory 64 DataMount host DataMountPath /var/lib/mysql
	record wordpress demo-web TCPPort 80 PortMapping custom PortMappingPorts 8080:80 access private \
		Interlinked mysql:db MaxMemory 128 WebAlias blog DataMount host DataMountPath /var/www
	record site demo-web TCPPort 80 PortMapping custom PortMappingPorts 8081:80 access public
	record desk demo-web TCPPort 80 PortMapping custom PortMappingPorts 8082:80 access localhost
}

engine() { # CURL-OPTIONS...
	inside curl -sS --fail --unix-socket /run/docker.sock "$@"
}

record() { # NAME IMAGE PROPERTIES...
	local name=$1 image=$2
	shift 2
	inside db docker_containers set "$name" service status enabled Image "$image" "$@"
}

all_are_in() {
	database_is_in && inside curl -sS --fail --noproxy '*' -m 2 -o /dev/null http://127.0.0.1:8082/ 2>/dev/null &&
		is_in lan http://10.77.0.1:8080/ && is_in lan http://10.77.0.1/blog/ && is_in wan http://198.51.100.1:8081/
}

# It says its line and closes, whatever is asked.
database_is_in() {
	# shellcheck disable=SC2016 # for the shell there
	on_lan timeout 2 bash -c 'read -r line </dev/tcp/10.77.0.1/3306 && [[ $line = "demo-db ready"* ]]' 2>/dev/null
}

is_in() { # lan|wan URL
	"on_$1" curl -sS --fail --noproxy '*' -m 2 -o /dev/null "$2" 2>/dev/null
}

# Everything that the Internet must not reach, at the same time; the same is open to the LAN above.
all_are_out() {
	local url job jobs=() open=0
	for url in "wan http://198.51.100.1:8080/" "wan http://198.51.100.1:3306/" "wan http://198.51.100.1:8082/" \
		"wan http://10.77.0.1:8080/" "wan http://198.51.100.1/blog/" "lan http://10.77.0.1:8082/"; do
		is_out "${url%% *}" "${url#* }" &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do
		wait "$job" || open=1
	done
	return "$open"
}

# No connection, or the web server's own refusal.
is_out() { # lan|wan URL
	local code
	code=$("on_$1" curl -sS --noproxy '*' --http0.9 -m 1 -o /dev/null -w '%{http_code} %{size_download} %{time_connect}' "$2" 2>/dev/null || true)
	case $code in
	403\ * | *\ 0\ 0.000000) return 0 ;;
	*)
		echo "open: $* ($code)" >&2
		return 1
		;;
	esac
}

page() { # FILE TEXT
	on_lan curl -sS --fail --noproxy '*' -m 2 "http://10.77.0.1/blog/$1" 2>/dev/null | grep -qF "$2"
}

as_desired() { inside wharf status >/dev/null 2>&1; }

all_ids() { # names and ids of our containers
	engine 'http://engine/containers/json' | python3 -c '
import json, sys
for one in sorted((one["Names"][0], one["Id"]) for one in json.load(sys.stdin)):
    print(*one)'
}

same_ids() { diff "$work/ids" <(all_ids); }

nothing_else() { # of containers, running or not
	[ "$(engine 'http://engine/containers/json?all=true' | python3 -c '
import json, sys
print(*sorted(one["Names"][0] for one in json.load(sys.stdin)))')" = "/desk /mysql /site /wordpress" ]
}

limit_is() { # NAME BYTES
	[ "$(engine "http://engine/containers/$1/json" | python3 -c '
import json, sys
print(json.load(sys.stdin)["HostConfig"]["Memory"])')" = "$2" ]
}

address() { # NAME: of its container, from its record
	inside db docker_containers getprop "$1" Address
}
