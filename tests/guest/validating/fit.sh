# Devices that are fit: a card and a drive with all their virtual functions at the same time, plain devices, and the same twenty times.
address() { basename "$(dirname "$(grep -l "$1" /sys/bus/pci/devices/*/device)")"; }

card=$(address 0x10c9)
plain=$(address 0x10d3)
drive=$(basename "$(readlink -f "$(dirname "$(grep -l v1 /sys/class/nvme/*/serial)")/device")")
ip link set "$(ls /sys/bus/pci/devices/$card/net)" up

state() {
    for device in $card $drive $plain 0000:00:03.0; do
        at=/sys/bus/pci/devices/$device
        echo "$device $(readlink $at/driver) $(cat $at/driver_override) $(cat $at/sriov_numvfs $at/sriov_drivers_autoprobe 2>/dev/null)"
    done
    ls /run/iommu-tool | grep json
}
before=$(state)

iommu-tool validate $card --json --junit /tmp/card.xml --html /tmp/card.html --prometheus /tmp/card.prom >/tmp/card.json & one=$!
iommu-tool validate $drive --vfs max --json >/tmp/drive.json & other=$!
wait $one || { cat /tmp/card.json; fail "the card: $?"; }
wait $other || { cat /tmp/drive.json; fail "the drive: $?"; }
[ "$(state)" = "$before" ] || fail "not as before: $before; now: $(state)"
grep -q '^iommu_tool_validate_fit{device="'$card'"} 1$' /tmp/card.prom || fail "metrics: $(cat /tmp/card.prom)"
grep -q "FIT: $card with 7 virtual functions" /tmp/card.html || fail "no verdict on the page"
echo "card and drive: fit"

# Plain devices: one with an engine, one without.
iommu-tool validate 00:03.0 --level quick >/tmp/said || fail "edu: $?"
iommu-tool validate $plain --level quick >/tmp/said
[ $? = 4 ] || fail "without an engine there is a verdict"
head -n 1 /tmp/said | grep '^INCOMPLETE: .* no engine drives this device' || fail "no reason"
iommu-tool validate $plain --level quick --allow-no-dma >/tmp/said || fail "--allow-no-dma: $?"
head -n 1 /tmp/said | grep '^FIT: .* without DMA' || fail "DMA is not said to be missing"
# Each interrupt takes an open file: the usual limit is raised, and one that cannot be is no fault of the device.
(ulimit -Sn 10; iommu-tool validate $plain --level quick --allow-no-dma) >/tmp/said || fail "few open files: $?"
(ulimit -n 12; iommu-tool validate $plain --level quick --allow-no-dma) >/tmp/said
[ $? = 4 ] || fail "without files for interrupts there is a verdict"
also '^SKIP  function.interrupts of .* needs an open file'
[ "$(state)" = "$before" ] || fail "not as before: $before; now: $(state)"
echo "plain devices: ok"

# What the kernel has: pages pinned, files open, its own memory.
count() {
    echo 3 >/proc/sys/vm/drop_caches
    cat /proc/sys/vm/stat_refresh
    pins=$(awk '/nr_foll_pin_acquired/ { a = $2 } /nr_foll_pin_released/ { r = $2 } END { print a - r }' /proc/vmstat)
    files=$(cut -f1 /proc/sys/fs/file-nr)
    slabs=$(awk '/^SUnreclaim/ { print $2 }' /proc/meminfo)
}
run=1
while [ $run -le 20 ]; do
    iommu-tool validate $drive --vfs 2 --level quick >/tmp/said || fail "run $run: $?"
    count
    echo "run $run: $pins pinned, $files files, $slabs KiB"
    # The kernel fills its own caches in the first runs.
    [ $run != 10 ] || { files_before=$files slabs_before=$slabs; }
    run=$((run + 1))
done
[ "$pins" = 0 ] && [ "$files" = "$files_before" ] || fail "something grows"
# A leaked address space alone would be more than this in ten runs with dozens of them.
[ $((slabs - slabs_before)) -lt 512 ] || fail "the kernel's memory grows"
[ "$(state)" = "$before" ] || fail "not as before: $before; now: $(state)"
echo "twenty times: ok"
