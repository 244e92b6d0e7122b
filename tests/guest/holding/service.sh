# A holder as a service: it says when it is ready, ends in order on SIGTERM, and starts again. $1: the backend
set -eu
device=1234:11e8
iommu-tool bind $device
bdf=$(iommu-tool list --json $device | sed -n 's/.*"bdf": "\(.*\)",/\1/p' | head -n 1)
# The system log stands in for the service manager: both take datagrams at a Unix socket.
syslogd -O /tmp/notified
serve() { # BACKEND [LIMIT-OF-OPEN-FILES]
    : >/tmp/notified
    (
        [ $# -eq 1 ] || ulimit -n "$2"
        NOTIFY_SOCKET=/dev/log exec iommu-tool hold --backend "$1" $device 2>/tmp/log
    ) &
    holder=$!
    until grep -q READY=1 /tmp/notified; do usleep 10000; done
}
joins() { # WORDS
    iommu-tool hold $device 2>/tmp/joined
    cat /tmp/joined
    grep -q "$1" /tmp/joined
}
# A service that would join another process could never be ready.
is_refused() { # PID
    : >/tmp/notified
    status=0
    NOTIFY_SOCKET=/dev/log iommu-tool hold $device 2>/tmp/refused || status=$?
    cat /tmp/refused
    [ $status -eq 3 ]
    grep -q "is held by process $1 already" /tmp/refused
    [ "$(grep -c READY=1 /tmp/notified)" -eq 0 ]
}

for round in 1 2; do
    serve "$1"
    iommu-tool map $device --size 2M
    iommu-tool maps
    [ "$(iommu-tool maps --json | sed -n 's/.*"pid": \([0-9]*\),/\1/p')" -eq $holder ]

    # Without mappings a service goes on; another holder for the same group is not started.
    iommu-tool unmap $device --all
    joins "joined process $holder, which holds the devices from now on"
    is_refused $holder
    iommu-tool map $device --size 2M

    kill -TERM $holder
    wait $holder
    until grep -q STOPPING=1 /tmp/notified; do usleep 10000; done
    cat /tmp/log
    grep -q 'SIGTERM: closing' /tmp/log
    # Bus mastering is off: bit 2 of the Command register.
    command=$(dd if=/sys/bus/pci/devices/$bdf/config bs=1 skip=4 count=1 2>/dev/null | od -An -tu1)
    [ $((command & 4)) -eq 0 ]
    [ -z "$(ls /run/iommu-tool | grep 'group-.*sock')" ]
done

echo "What map started is no service:"
iommu-tool map $device --backend "$1" --size 4K
pid=$(iommu-tool maps --json | sed -n 's/.*"pid": \([0-9]*\),/\1/p')
joins "joined process $pid, which holds the devices until its last mapping is unmapped"
is_refused $pid
iommu-tool unmap $device --all

echo "A holder that has too many open files says so, once, and goes on when it can:"
open_files() { ls /proc/$holder/fd | wc -l; }
serve "$1"
alone=$(open_files)
kill -TERM $holder
wait $holder
serve "$1" $((alone + 2))
[ "$(open_files)" -eq "$alone" ]
iommu-tool map $device --size 4K --iova 0x100000
dd if=/dev/zero of=/dev/shm/file bs=4096 count=1 2>/dev/null
mkfifo /tmp/never
exec 9<>/tmp/never
iommu-tool fill $device --iova 0x100000 --input /tmp/never &
first=$!
until [ "$(open_files)" -eq $((alone + 1)) ]; do usleep 10000; done
status=0
iommu-tool map $device --file /dev/shm/file 2>/tmp/said || status=$?
cat /tmp/said
[ $status -eq 1 ]
grep -q 'too many open files' /tmp/said
iommu-tool fill $device --iova 0x100000 --input /tmp/never &
second=$!
until [ "$(open_files)" -eq $((alone + 2)) ]; do usleep 10000; done
iommu-tool maps >/tmp/late &
late=$!
until grep -q 'cannot take a client: EMFILE' /tmp/log; do usleep 10000; done
# It is tried again each second.
sleep 2
kill $first
wait $late
grep -q 0x100000 /tmp/late
[ "$(grep -c 'cannot take a client' /tmp/log)" -eq 1 ]
kill $second
kill -TERM $holder
wait $holder
iommu-tool unbind $device
