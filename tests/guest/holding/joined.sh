# A second device of a held group joins its holder, and reaches what is mapped there. $1: the backend
set -eu
backend=$1
set -- $(iommu-tool list --json | tr -d ' ",' | awk -F: '/^bdf:/ { bdf = substr($0, 5) } /^device_id:11e8/ { print bdf }')
first=$1 second=$2
[ "$(readlink /sys/bus/pci/devices/$first/iommu_group)" = "$(readlink /sys/bus/pci/devices/$second/iommu_group)" ]

# The group's node was there before its second device was given to a user: it is root's again afterwards.
owner() { stat -c '%u:%g %a' /dev/vfio/$(readlink /sys/bus/pci/devices/$first/iommu_group | sed 's/.*\///'); }
iommu-tool bind $first
[ "$(owner)" = '0:0 600' ]
iommu-tool bind --owner user:user $second
[ "$(owner)" = '1000:1000 660' ]
iommu-tool unbind $second
[ "$(owner)" = '0:0 600' ]

iommu-tool bind $first $second
iommu-tool map $first --backend $backend --size 4K --iova 0x100000
iommu-tool fill $second --iova 0x100000 --data 5a
iommu-tool map $second --size 4K --iova 0x101000
iommu-tool maps
[ "$(iommu-tool maps --json | grep -c '"pid"')" -eq 1 ]
iommu-tool maps | grep -q "$first, $second"
iommu-tool dma $second read --iova 0x100000 --size 64
iommu-tool dma $first write --iova 0x101000 --data a5

# The kernel wants one of them back: the holder goes on with the other. (DMA of the other need not: behind one bridge both look the
# same to the IOMMU, and Linux ends translation for both.)
echo 1 >/sys/bus/pci/devices/$second/remove
iommu-tool maps
iommu-tool maps | grep -q "iommufd: $first; 8K pinned\|type1: $first; 8K pinned"
iommu-tool map $first --size 2M
iommu-tool unmap $first --all
