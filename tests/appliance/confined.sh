# What the confinement of wharfd might break: each thing is done by wharfd itself, from records alone. To be
# sourced.
# shellcheck shell=bash disable=SC2154

confined() {
	local process
	must "wharfd may more than it needs" inside systemd-analyze security --no-pager --threshold=20 wharfd.service >"$work/security"
	process=$(inside systemctl show -P MainPID wharfd)
	must "wharfd is not confined" inside grep -qx 'CapBnd:\s*0000000000001000' "/proc/$process/status"

	# A file that the web server's own program has accepted, and the server told.
	inside db docker_containers setprop wordpress WebAlias news
	must "an alias was not taken over by Apache" until_true 30 is_in lan http://10.77.0.1/news/
	inside db docker_containers setprop wordpress WebAlias blog
	must "the old alias was not taken over by Apache" until_true 30 is_in lan http://10.77.0.1/blog/

	# A directory behind one that its owner closes to others, and a root for data where wharfd may not write.
	install -d -m 0700 -o nobody "$work/root/home/closed"
	install -d "$work/root/home/closed/data"
	inside config set docker service DataRoot /opt/elsewhere/data
	record mounts demo-web TCPPort 80 PortMapping none MountPath /home/closed/data:/mnt DataMount host DataMountPath /var/www
	must "a container with mounts does not run" until_true 60 runs mounts
	must "the data is not below its root" test -d "$work/root/opt/elsewhere/data/mounts"
	inside config delprop docker DataRoot
	inside db docker_containers delete mounts

	# A disk that comes late: its mount is heard, long before the timer.
	inside mkdir -p /srv/late /srv/disk/data
	record late demo-web TCPPort 80 PortMapping none MountPath /srv/late/data:/mnt
	must "a directory that is not there is not told" until_true 30 named_in_the_log "this path does not exist on the host"
	inside mount --bind /srv/disk /srv/late
	must "a disk that comes late is not seen" until_true 20 runs late
	inside db docker_containers delete late
	must "a container without a record runs on" until_true 60 no_container late
	inside umount /srv/late
	inside rm -r /srv/late /srv/disk

	# A port that a program of the host has: it is named, here, on the bus, and in a mail by a program that
	# gives up its rights and writes where wharfd may not.
	install -d -o nobody "$work/root/opt/mail"
	# shellcheck disable=SC2016 # for the shell inside
	inside sh -c 'printf "#!/bin/sh\nexec setpriv --reuid nobody --clear-groups sh -c \"cat >/opt/mail/new\"\n" >/usr/sbin/sendmail
		chmod 755 /usr/sbin/sendmail'
	inside config setprop docker NotifyMail root@localhost
	record clash demo-web TCPPort 80 PortMapping custom PortMappingPorts 80:80 access private
	must "who has a port is not known" until_true 30 named_in_the_log "the process 'apache2'"
	must "who has a port is not known on the bus" named_on_the_bus apache2
	must "nobody was told by mail" until_true 30 grep -q "'apache2'" "$work/root/opt/mail/new"
	inside db docker_containers delete clash
	inside config delete docker
	rm -r "$work/root/usr/sbin/sendmail" "$work/root/opt/mail" "$work/root/opt/elsewhere" "$work/root/home/closed"

	# A sysctl that somebody turned off.
	inside sh -c 'echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables'
	inside systemctl reload wharfd
	must "packets between containers pass by the guard" inside grep -qx 1 /proc/sys/net/bridge/bridge-nf-call-iptables
	until_true 60 inside wharf apply >>"$work/log" 2>&1 || broken "not as desired"
	must "wharf status is not 0" until_true 30 as_desired
	all_ids >"$work/ids"
	say "confined ($(sed -n 's/.*Overall exposure.*: \([0-9.]*\).*/\1/p' "$work/security")), with its checks, mounts, data, ports and sysctls"
}

runs() { # NAME
	engine "http://engine/containers/$1/json" 2>/dev/null | grep -q '"Running":true'
}

no_container() { # NAME
	! engine -o /dev/null "http://engine/containers/$1/json" 2>/dev/null
}

named_on_the_bus() { # WORD
	# shellcheck disable=SC2086 # BUS is many words
	inside busctl call $BUS Exposure | grep -qF "$1"
}

named_in_the_log() { # WORDS
	inside journalctl --no-pager -q -u wharfd | grep -qF "$1"
}
