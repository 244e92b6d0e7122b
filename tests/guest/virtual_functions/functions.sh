# Virtual functions of a drive and of a network card.
drive=$(basename $(dirname $(grep -l v1 /sys/class/nvme/*/serial)))
drive_path=$(readlink -f /sys/class/nvme/$drive/device)
card=/sys/class/net/eth0/device

# The drive's functions work only with queues and interrupts, and once they are online: then its driver has them.
says 0 'has 0 of 4' iommu-tool vfs $drive
says 0 'nvme virt-mgmt' iommu-tool vfs $drive 2 --dry-run
says 0 'has 2 of 4 virtual functions now, it had 0' iommu-tool vfs $drive 2
[ "$(ls -d /sys/class/nvme/nvme* | wc -l)" = 3 ] || fail "the drive's functions have no driver"
function=$(basename $(readlink $drive_path/virtfn0))
says 0 'on vfio-pci now' iommu-tool bind $function
says 0 PASSED iommu-tool test $function
says 0 'on nvme now' iommu-tool unbind $function
says 0 'has 3 of 4 virtual functions now, it had 2' iommu-tool vfs $drive 3
says 2 'can have 4 virtual functions, not 9' iommu-tool vfs $drive 9
says 0 'has 0 of 4 virtual functions now, it had 3' iommu-tool vfs $drive 0
echo "drive: ok"

says 0 'has 7 of 7 virtual functions now, it had 0' iommu-tool vfs eth0 max
says 0 'echo 0 > .*sriov_drivers_autoprobe' iommu-tool vfs eth0 2 --no-autoprobe --dry-run
says 0 'without a driver' iommu-tool vfs eth0 2 --no-autoprobe
[ "$(cat $card/sriov_drivers_autoprobe)" = 1 ] || fail "autoprobe was not restored"
function=$(basename $(readlink $card/virtfn0))
says 0 'on vfio-pci now' iommu-tool bind $function
iommu-tool hold $function 2>/tmp/log & holder=$!
until iommu-tool maps --json | grep -q '"pid"'; do sleep 0.1; done
says 3 "held by iommu-tool (process $holder" iommu-tool vfs eth0 0
kill $holder; wait $holder
says 0 'without a driver now' iommu-tool unbind $function
says 2 'it is one itself, of' iommu-tool vfs $function 1
says 0 'has 0 of 7 virtual functions now, it had 2' iommu-tool vfs eth0 0
echo "card: ok"

at=1
while :; do
    "$killer" kill-at $at iommu-tool vfs eth0 3 >/tmp/said 2>&1
    status=$?
    [ $status = 137 ] || break
    if ls /run/iommu-tool/*.json >/dev/null 2>&1; then
        says 3 'iommu-tool recover' iommu-tool vfs eth0 2
        says 0 'put back' iommu-tool recover
        [ "$(cat $card/sriov_numvfs)" = 0 ] || fail "functions are left after step $at"
    fi
    says 0 'has 0 of 7' iommu-tool vfs eth0 0
    [ "$(cat $card/sriov_drivers_autoprobe)" = 1 ] || fail "autoprobe is off after step $at"
    ! ls /run/iommu-tool/*.json >/dev/null 2>&1 || fail "the journal is not empty after step $at"
    at=$((at + 1))
done
[ $status = 0 ] || fail "vfs ended with $status"
says 0 'has 0 of 7' iommu-tool vfs eth0 0
echo "steps of vfs: $((at - 1))"
