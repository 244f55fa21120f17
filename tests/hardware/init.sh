#!/bin/sh
# First program of the machine under test: the tester's own / stays as it is, below an overlay in memory.
# The kernel passes on what it does not know of its command line: STAGE (a folder laid over /), OUT (a folder
# that is written to), NEXT (what runs afterwards).
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/stage /mnt/upper /mnt/work /mnt/root
mount -t hostfs -o "$STAGE" none /mnt/stage || echo "no stage $STAGE"
mount -t overlay -o lowerdir=/mnt/stage:/,upperdir=/mnt/upper,workdir=/mnt/work none /mnt/root || echo "no overlay"
cd /mnt/root || exit 1
mount -t proc none proc
mount -t sysfs none sys
mount -t configfs none sys/kernel/config
mount -t debugfs none sys/kernel/debug
mount -t tracefs none sys/kernel/tracing
mount -t devtmpfs none dev
mount -t tmpfs -o mode=1777 none tmp
mount -t tmpfs -o mode=755 none run
mkdir -p oldroot out
mount -t hostfs -o "$OUT" none out || echo "no folder $OUT"
# What tells systemd that the tester's own machine is a container is not true of this one.
rm -f .dockerenv
pivot_root . oldroot
exec chroot . ${NEXT:-/lib/systemd/systemd --unit=hardware.target --show-status=no} <dev/console >dev/console 2>&1
