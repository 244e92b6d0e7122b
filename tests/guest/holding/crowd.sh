# Many clients at once: every answer is right, and nothing stays mapped. $1: the backend
set -eu
device=1234:11e8
iommu-tool bind $device

echo "Eight cold maps at once end in one holder:"
for client in 1 2 3 4 5 6 7 8; do
    iommu-tool map $device --backend "$1" --size 8K >/tmp/cold.$client &
done
wait
cat /tmp/cold.*
[ "$(cat /tmp/cold.* | sed 's/ .*//' | sort -u | wc -l)" -eq 8 ]
[ "$(iommu-tool maps --json | grep -c '"pid"')" -eq 1 ]
[ "$(iommu-tool maps --json | grep -c '"iova"')" -eq 8 ]
iommu-tool unmap $device --all

echo "Holders come and go while clients come:"
for client in 1 2 3 4; do
    (
        for round in 1 2 3 4 5; do
            iova=$(iommu-tool map $device --backend "$1" --size 4K | sed 's/ .*//')
            iommu-tool unmap $device --iova "$iova" >/dev/null
        done
        echo right >/tmp/come.$client
    ) &
done
wait
[ "$(cat /tmp/come.* | grep -c right)" -eq 4 ]
[ "$(iommu-tool maps $device)" = 'nothing is mapped' ]

echo "A thousand maps and unmaps by eight clients:"
iommu-tool map $device --backend "$1" --size 4K --name stays
for client in 1 2 3 4 5 6 7 8; do
    (
        round=0
        while [ $round -lt 125 ]; do
            round=$((round + 1))
            iova=$(iommu-tool map $device --size 4K | sed 's/ .*//')
            if [ $((round % 25)) -eq 0 ]; then
                mine=$(printf '%02x%04x' $client $round)
                iommu-tool fill $device --iova "$iova" --data "$mine" >/dev/null
                iommu-tool dump $device --json --iova "$iova" --size 3 | grep -q "\"$mine\""
            fi
            [ "$(iommu-tool unmap $device --iova "$iova" | sed 's/;.*//')" = 'unmapped 1 mapping, 4K' ]
        done
        echo right >/tmp/many.$client
    ) &
done
wait
[ "$(cat /tmp/many.* | grep -c right)" -eq 8 ]
iommu-tool maps $device
[ "$(iommu-tool maps --json $device | grep -c '"iova"')" -eq 1 ]
iommu-tool unmap $device --name stays
[ "$(iommu-tool maps $device)" = 'nothing is mapped' ]
iommu-tool unbind $device
