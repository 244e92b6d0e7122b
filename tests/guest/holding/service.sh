# A holder as a service: it says when it is ready, ends in order on SIGTERM, and starts again. $1: the backend
set -eu
device=1234:11e8
iommu-tool bind $device
bdf=$(iommu-tool list --json $device | sed -n 's/.*"bdf": "\(.*\)",/\1/p' | head -n 1)
# The system log stands in for the service manager: both take datagrams at a Unix socket.
syslogd -O /tmp/notified

for round in 1 2; do
    : >/tmp/notified
    NOTIFY_SOCKET=/dev/log iommu-tool hold --backend "$1" $device 2>/tmp/log &
    holder=$!
    until grep -q READY=1 /tmp/notified; do usleep 10000; done
    iommu-tool map $device --size 2M
    iommu-tool maps
    [ "$(iommu-tool maps --json | sed -n 's/.*"pid": \([0-9]*\),/\1/p')" -eq $holder ]

    # Without mappings a service goes on; another holder for the same group is not started.
    iommu-tool unmap $device --all
    iommu-tool hold $device 2>/tmp/joined
    grep -q "joined process $holder" /tmp/joined
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
iommu-tool unbind $device
