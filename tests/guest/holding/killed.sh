# A holder that is killed leaves nothing mapped, and nothing in the way of the next. $1: the backend
set -eu
device=1234:11e8
iommu-tool bind $device
for round in 1 2 3; do
    iommu-tool map $device --backend "$1" --size 16M
    iommu-tool map $device --file /dev/zero --size 4K 2>/dev/null && exit 1
    pid=$(iommu-tool maps --json $device | sed -n 's/.*"pid": \([0-9]*\),/\1/p')
    kill -9 "$pid"
    # At once, while the kernel still cleans up.
    iommu-tool map $device --backend "$1" --size 4K --iova 0x100000
    [ "$(iommu-tool maps --json $device | grep -c '"iova"')" -eq 1 ]
    pid=$(iommu-tool maps --json $device | sed -n 's/.*"pid": \([0-9]*\),/\1/p')
    kill -9 "$pid"
    while [ -e "/proc/$pid" ]; do usleep 10000; done
    [ "$(iommu-tool maps $device)" = 'nothing is mapped' ]
    [ -S /run/iommu-tool/group-*.sock ]
    status=0
    iommu-tool unmap $device --iova 0x100000 2>/tmp/said || status=$?
    [ $status -eq 2 ]
    grep -q 'nothing is mapped' /tmp/said
done
iommu-tool unmap $device --all
iommu-tool unbind $device
