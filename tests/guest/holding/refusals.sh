# What cannot be mapped is refused with the reason, and nothing is left behind. $1: the backend
set -eu
device=1234:11e8 backend=$1
iommu-tool bind $device
refused() { # STATUS WORDS ARGUMENT...
    expected=$1 words=$2 status=0
    shift 2
    iommu-tool "$@" >/tmp/said 2>&1 || status=$?
    cat /tmp/said
    [ $status -eq "$expected" ]
    grep -q "$words" /tmp/said
    [ "$(iommu-tool maps)" = 'nothing is mapped' ]
}
map="map $device --backend $backend"

refused 2 'the nearest are 4K and 8K' $map --size 5000
refused 2 'the nearest are 2M and 4M' $map --size 3M --page-size 2M
refused 2 'the nearest are 0x1000 and 0x2000' $map --size 4K --iova 0x1800
refused 2 'usable IOVAs' $map --size 4K --iova 0xfee00000
refused 2 'usable IOVAs' $map --size 4K --iova 0xfffffffffffff000
refused 2 'not a name' $map --size 4K --name 'a b'
refused 2 'ENOENT' $map --file /dev/shm/none
refused 4 'huge' $map --size 1G --page-size 1G

dd if=/dev/zero of=/dev/shm/short bs=1 count=6000 2>/dev/null
refused 2 'the nearest are 4K and 8K' $map --file /dev/shm/short
refused 2 'too short: it has 6000 bytes' $map --file /dev/shm/short --size 8K
refused 2 'ends at' $map --file /dev/shm/short --offset 8K --size 4K
refused 2 'is not a file' $map --file /dev/shm --size 4K --protection r
refused 2 'is not a file' $map --file /dev/zero --size 4K

mkdir -p /tmp/small && mount -t tmpfs -o size=64K tmpfs /tmp/small
truncate -s 1M /tmp/small/hole
refused 1 'has a hole at 0x10000, and its file system has no room' $map --file /tmp/small/hole
umount /tmp/small

echo "A file on a disk is read, or copied, but not written:"
mke2fs /dev/nvme0n1 >/dev/null
mkdir -p /tmp/disk && mount -t ext2 /dev/nvme0n1 /tmp/disk
dd if=/dev/urandom of=/tmp/disk/file bs=4096 count=3 2>/dev/null
refused 2 'Map it to be read only' $map --file /tmp/disk/file
iommu-tool $map --file /tmp/disk/file --protection r --iova 0x100000
iommu-tool $map --file /tmp/disk/file --private --iova 0x200000
iommu-tool dma $device read --iova 0x101000 --size 4K --output /tmp/read
dd if=/tmp/disk/file bs=4096 skip=1 count=1 2>/dev/null | cmp - /tmp/read
iommu-tool dump $device --iova 0x200000 --output /tmp/copy
cmp /tmp/copy /tmp/disk/file
status=0
iommu-tool fill $device --iova 0x100000 --data 00 2>/tmp/said || status=$?
[ $status -eq 2 ]
grep -q 'cannot be written' /tmp/said
iommu-tool dma $device write --iova 0x200000 --data 00ff >/dev/null
cmp /tmp/copy /tmp/disk/file
iommu-tool unmap $device --all
umount /tmp/disk

echo "A file that is made shorter is an error:"
dd if=/dev/zero of=/dev/shm/shrinks bs=4096 count=4 2>/dev/null
iommu-tool $map --file /dev/shm/shrinks --iova 0x100000
truncate -s 4096 /dev/shm/shrinks
status=0
iommu-tool dump $device --iova 0x102000 2>/tmp/said || status=$?
cat /tmp/said
[ $status -eq 1 ]
grep -q 'was made shorter' /tmp/said
iommu-tool unmap $device --all

echo "Something else where the socket should be:"
bdf=$(iommu-tool list --json $device | sed -n 's/.*"bdf": "\(.*\)",/\1/p' | head -n 1)
group=$(readlink /sys/bus/pci/devices/$bdf/iommu_group)
echo else >/run/iommu-tool/group-${group##*/}.sock
status=0
iommu-tool $map --size 4K 2>/tmp/said || status=$?
cat /tmp/said
[ $status -eq 3 ]
grep -q 'not a socket' /tmp/said
rm /run/iommu-tool/group-${group##*/}.sock
iommu-tool unbind $device
