#!/bin/busybox sh
# First process of a guest: this machine's files, read-only, with a layer in memory above them; then the command.
# What goes wrong shows on the console, and the machine goes off without having written "status".
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod "/$module.ko" || exit; done
mount -t virtiofs -o ro host /host || poweroff -f
mount -t virtiofs out /out || poweroff -f
mount -t tmpfs layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root || poweroff -f
cd /root
mount --move /dev dev
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs run run
mount -t tmpfs tmp tmp
mkdir -p dev/pts dev/shm var/tmp
mount -t devpts pts dev/pts
mount -t tmpfs shm dev/shm
mount -t tmpfs tmp var/tmp
chmod 1777 tmp var/tmp dev/shm
ln -sf /proc/self/fd dev/fd
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t tracefs tracefs sys/kernel/tracing
mount -t bpf bpf sys/fs/bpf
mount -t securityfs security sys/kernel/security
mount -t fusectl fuse sys/fs/fuse/connections 2>/dev/null
ip link set lo up
cp /command /bin/busybox run
mkdir run/out
mount --move /out run/out
# The machine's root, not a folder of it: in a chroot no user namespace can be made (user_namespaces(7)).
mount --move . /
exec chroot . /run/busybox sh -c '
    mount --make-rshared /
    /bin/sh /run/command >/run/out/output 2>/run/out/errors </dev/null
    echo $? >/run/out/status
    sync
    poweroff -f
'
