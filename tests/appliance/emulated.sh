# A machine as appliance.sh has it, with a kernel of its own. To be sourced after appliance.sh.
#
# qemu emulates it, so it is slow: two minutes until it is up. It has control groups of version 2 with all their
# controllers, and a disk that keeps what was written when the power goes, and nothing else. `power_on` makes the
# disk of $work/root the first time; from then on only `inside` sees its files.
# Needs qemu-system-x86_64, mkfs.ext4 and ssh, which `tests/setup.sh emulated` installs.
# shellcheck shell=bash disable=SC2154

PACKAGES=$PACKAGES,linux-image-cloud-amd64,initramfs-tools,openssh-server,udev,apparmor
DISK=${DISK:-6G}
MEMORY=${MEMORY:-2048}

# Which interface is which, and who may come in by ssh.
furnish() { # ROOT
	local side device address number
	echo "$NAME" >"$1/etc/hostname"
	echo "127.0.1.1 $NAME" >>"$1/etc/hosts"
	echo '/dev/vda / ext4 defaults 0 1' >"$1/etc/fstab"
	for side in lan:10.77.0.1:01 wan:198.51.100.1:02; do
		IFS=: read -r device address number <<<"$side"
		printf '[Match]\nMACAddress=52:54:00:00:00:%s\n[Link]\nName=%s0\n' "$number" "$device" \
			>"$1/etc/systemd/network/10-$device.link"
		printf '[Match]\nName=%s0\n[Network]\nAddress=%s/24\nIPv6AcceptRA=no\n' "$device" "$address" \
			>"$1/etc/systemd/network/10-$device.network"
	done
	systemctl --root="$1" --quiet enable systemd-networkd ssh
	systemctl --root="$1" --quiet mask systemd-networkd-wait-online
	ssh-keygen -q -t ed25519 -N '' -f "$work/key"
	install -D -m 600 "$work/key.pub" "$1/root/.ssh/authorized_keys"
}

# The clients are on bridges with the taps of the machine, in a namespace of their own.
connect() {
	local side
	for side in -lan -wan -wires; do
		ip netns add "$NAME$side"
		ip -n "$NAME$side" link set lo up
	done
	wire lan 10.77.0
	wire wan 198.51.100
}

wire() { # SIDE NETWORK
	local end
	ip link add eth0 netns "$NAME-$1" type veth peer name "v$1" netns "$NAME-wires"
	ip -n "$NAME-wires" link add "b$1" type bridge
	ip -n "$NAME-wires" tuntap add "t$1" mode tap
	for end in "v$1" "t$1"; do
		ip -n "$NAME-wires" link set "$end" master "b$1" up
	done
	ip -n "$NAME-wires" link set "b$1" up
	ip -n "$NAME-$1" addr add "$2.50/24" dev eth0
	ip -n "$NAME-$1" link set eth0 up
	ip -n "$NAME-$1" route add default via "$2.1"
}

disk() { # of $work/root, which is gone then
	cp "$work"/root/boot/vmlinuz-* "$work/kernel"
	cp "$work"/root/boot/initrd.img-* "$work/initrd"
	mkfs.ext4 -q -F -d "$work/root" "$work/disk" "$DISK"
	rm -rf --one-file-system "${work:?}/root"
}

# What was not synced is gone when it is killed: nothing of this machine's memory stands between.
power_on() {
	[ -e "$work/disk" ] || disk
	nsenter --net="/run/netns/$NAME-wires" -- qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 \
		-m "$MEMORY" -nodefaults -display none -serial file:"$work/console" \
		-kernel "$work/kernel" -initrd "$work/initrd" \
		-append "root=/dev/vda rw console=ttyS0 quiet net.ifnames=1" \
		-drive file="$work/disk",if=virtio,format=raw,cache=none -device virtio-rng-pci \
		-netdev tap,id=l,ifname=tlan,script=no,downscript=no -device virtio-net-pci,netdev=l,mac=52:54:00:00:00:01 \
		-netdev tap,id=w,ifname=twan,script=no,downscript=no -device virtio-net-pci,netdev=w,mac=52:54:00:00:00:02 \
		>>"$work/qemu" 2>&1 </dev/null &
	machine=$!
}

is_up() {
	until_true 600 settled || fail "the machine did not come up; its systemd says '$(state)'" \
		"$(tail -n 5 "$work/console" "$work/qemu")"
}

power_off() {
	local side
	rm -f "$work/ssh"
	if [ -n "${machine:-}" ]; then
		kill -KILL "$machine" 2>/dev/null || true
		wait "$machine" 2>/dev/null || true
		machine=
	fi
	for side in -lan -wan -wires; do
		ip netns del "$NAME$side" 2>/dev/null || true
	done
}

state() { inside systemctl is-system-running 2>/dev/null; }

# Every word arrives as it is.
inside() {
	on_lan ssh -q -n -i "$work/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 \
		-o ServerAliveInterval=5 -o ControlMaster=auto -o ControlPath="$work/ssh" -o ControlPersist=60 \
		root@10.77.0.1 "$(printf '%q ' "$@")"
}
