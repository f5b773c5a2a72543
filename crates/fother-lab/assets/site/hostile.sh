    # Tries to reach beyond its machine, writes down what came of it, and never fails. Harmless where it succeeds: the device
    # is a loop device without a file, sysrq prints its help, the kernel setting is written back as it was.
    mkdir -p /var/lib/lab-site
    log=/var/lib/lab-site/escape.log
    : >"$log"
    try() {
        name=$1
        shift
        if timeout 5 sh -c "$*" >/dev/null 2>&1; then echo "$name: DONE" >>"$log"; else echo "$name: refused" >>"$log"; fi
    }
    dev=/var/lib/lab-site/dev
    try mknod "rm -f $dev; mknod $dev b 7 7"
    if [ ! -e /sys/block/loop7/loop/backing_file ]; then
        try open-device "test -b $dev && exec 3<>$dev"
        try write-device "test -b $dev && head -c 512 /dev/zero | dd of=$dev bs=512 count=1 conv=notrunc"
    fi
    rm -f "$dev"
    try mknod-memory "mknod $dev c 1 1 && head -c 1 $dev"
    rm -f "$dev"
    try remount-root "mount -o remount,rw,dev,suid /"
    try bind-mount "mkdir -p /var/lib/lab-site/b && mount --bind / /var/lib/lab-site/b && umount /var/lib/lab-site/b"
    rmdir /var/lib/lab-site/b 2>/dev/null || true
    try sysrq "echo h >/proc/sysrq-trigger"
    try kernel-setting "v=\$(cat /proc/sys/kernel/core_pattern); mount -o remount,rw /proc/sys; printf %s \"\$v\" >/proc/sys/kernel/core_pattern"
    try kernel-setting-by-own-proc "mkdir -p /var/lib/lab-site/p && mount -t proc proc /var/lib/lab-site/p && v=\$(cat /var/lib/lab-site/p/sys/kernel/core_pattern) && printf %s \"\$v\" >/var/lib/lab-site/p/sys/kernel/core_pattern"
    umount /var/lib/lab-site/p 2>/dev/null || true
    rmdir /var/lib/lab-site/p 2>/dev/null || true
    try network "python3 -c 'import socket; socket.create_connection((\"10.77.0.1\", 8080), 2)'"
    for socket in /run/docker.sock /run/host/notify /run/fother/agent.sock /run/fother/executor.sock /var/lib/fother/agent.sock; do
        try "socket-$socket" "python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' $socket"
    done
    try kernel-log "head -c 1 /dev/kmsg"
    try fork-bomb "i=0; while [ \$i -lt 2000 ]; do sleep 2 & i=\$((i+1)); done; wait"
    sync
