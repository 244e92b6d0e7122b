# The user's own map, DMA and unmap, step by step. Another process sees what the device writes, and the device what it writes.
# $1: the backend
set -eu
device=1234:11e8
iommu-tool bind $device

# A window of memory that processes share, at an IOVA of our choice.
dd if=/dev/urandom of=/dev/shm/window bs=4096 count=4 2>/dev/null
iommu-tool map $device --backend "$1" --file /dev/shm/window --iova 0x40000 --name window
iommu-tool map $device --size 4K --iova 0x80000
iommu-tool maps $device

echo "The device reads what another process wrote:"
echo 'from the processor' | dd of=/dev/shm/window bs=1 seek=8000 conv=notrunc 2>/dev/null
iommu-tool dma $device read --iova 0x40000 --size 16K --output /tmp/read
cmp /tmp/read /dev/shm/window

echo "Another process sees what the device writes:"
echo 'from the device' >/tmp/words
iommu-tool dma $device write --iova 0x41ff8 --input /tmp/words
[ "$(dd if=/dev/shm/window bs=1 skip=8184 count=15 2>/dev/null)" = 'from the device' ]
iommu-tool dump $device --iova 0x41ff0 --size 32

echo "The same bytes once more arrive once more:"
iommu-tool dma $device write --iova 0x41ff8 --input /tmp/words | grep ARRIVED
[ "$(dd if=/dev/shm/window bs=1 skip=8184 count=15 2>/dev/null)" = 'from the device' ]

echo "Where the device may only read, bytes that are there already did not arrive:"
iommu-tool map $device --size 4K --iova 0x90000 --protection r
status=0
iommu-tool dma $device write --iova 0x90000 --data 00 >/tmp/said || status=$?
cat /tmp/said
[ $status -eq 1 ]
grep -q 'BLOCKED: .* mapped for it with other access' /tmp/said

echo "After the unmap the same is blocked and reported:"
iommu-tool unmap $device --name window
cp /dev/shm/window /tmp/before
for transfer in 'read --size 4096' 'write --data ff'; do
    status=0
    iommu-tool dma $device ${transfer%% *} --iova 0x40000 ${transfer#* } >/tmp/said || status=$?
    cat /tmp/said
    [ $status -eq 1 ]
    grep -q BLOCKED /tmp/said
    grep -q 'fault addr 0x40000' /tmp/said
done
cmp /tmp/before /dev/shm/window

echo "How memory is mapped is said with -v, and goes by what is asked for:"
iommu-tool -v map $device --size 128M --page-size thp --threads 2 2>/tmp/said >/dev/null
case $1 in
    type1) way='by one call' ;;
    iommufd) way='in pieces of 8 MiB, by 2 threads' ;;
esac
grep "thp pages, mapped $way" /tmp/said
iommu-tool -v map $device --size 64K --page-size 4K 2>/tmp/said >/dev/null
grep '4K pages, mapped by one call' /tmp/said

iommu-tool unmap $device --all
iommu-tool unbind $device
