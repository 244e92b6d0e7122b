# The kernel asks for the device back while it is held: the holder lets go, says so and ends. $1: the backend
set -eu
device=1234:11e8
iommu-tool bind $device
bdf=$(iommu-tool list --json $device | sed -n 's/.*"bdf": "\(.*\)",/\1/p' | head -n 1)
iommu-tool map $device --backend "$1" --size 2M
pid=$(iommu-tool maps --json | sed -n 's/.*"pid": \([0-9]*\),/\1/p')

# This returns when nobody has the device open any more.
echo 1 >/sys/bus/pci/devices/$bdf/remove
while [ -e "/proc/$pid" ]; do usleep 10000; done
cat /run/iommu-tool/group-*.log
grep -q "the kernel asks for $bdf back" /run/iommu-tool/group-*.log
[ -z "$(ls /run/iommu-tool | grep 'group-.*sock')" ]
[ "$(iommu-tool maps)" = 'nothing is mapped' ]

echo 1 >/sys/bus/pci/rescan
iommu-tool list $bdf
