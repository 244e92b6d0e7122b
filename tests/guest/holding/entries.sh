# More mappings than the container takes: the one too many is refused with the reason, the others stay. The limit is 4.
set -eu
device=1234:11e8
iommu-tool bind $device
for mapping in 1 2 3 4; do iommu-tool map $device --backend type1 --size 4K >/dev/null; done
status=0
iommu-tool map $device --size 4K 2>/tmp/said || status=$?
cat /tmp/said
[ $status -eq 1 ]
grep -q dma_entry_limit /tmp/said
[ "$(iommu-tool maps --json $device | grep -c '"iova"')" -eq 4 ]
iommu-tool unmap $device --iova 0x100000
iommu-tool map $device --size 4K
iommu-tool unmap $device --all
