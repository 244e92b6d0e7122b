# A device is tested where it is held, beside what is mapped there. $1: the backend
set -eu
device=1234:11e8
iommu-tool bind $device
status=0
iommu-tool test --in-holder $device 2>/tmp/said || status=$?
cat /tmp/said
[ $status -eq 2 ]
grep -q 'nothing is mapped' /tmp/said

iommu-tool map $device --backend "$1" --size 2M
iommu-tool fill $device --iova 0x200000 --data 5a
iommu-tool map $device --size 4K --iova 0x4000000000 2>/dev/null || iommu-tool map $device --size 4K --iova 0x40000000
iommu-tool test --in-holder $device
iommu-tool test --in-holder --json $device | grep -c '"verdict": "pass"'

# Meanwhile others are served, and what is mapped is as it was.
iommu-tool test --in-holder $device >/tmp/result &
iommu-tool map $device --size 4K --name beside
iommu-tool unmap $device --name beside
wait $!
[ "$(iommu-tool maps --json $device | grep -c '"iova"')" -eq 2 ]
[ "$(iommu-tool dump $device --iova 0x200000 --output - | tr -d Z | wc -c)" -eq 0 ]

# Nothing is mapped any more, and the test goes on: neither waits for the other.
iommu-tool test --in-holder $device >/tmp/result &
usleep 300000
iommu-tool unmap $device --all | grep 'unmapped 2 mappings'
wait $!
until [ -z "$(ls /run/iommu-tool | grep 'group-.*sock')" ]; do usleep 10000; done
iommu-tool unbind $device
