# Virtual functions of a drive and of a network card.
drive=$(basename $(dirname $(grep -l v1 /sys/class/nvme/*/serial)))
drive_path=$(readlink -f /sys/class/nvme/$drive/device)
drive_bdf=$(basename $drive_path)
card=/sys/class/net/eth0/device

# What the drive's controller keeps of the queues and interrupts that it can give away, which it would remember for good.
kept() { "$killer" kept /dev/$drive; }
"$killer" kept /dev/$drive 7 8 >/tmp/said
echo 1 >$drive_path/reset
before=$(kept)
[ "$before" = "7 queues, 8 interrupts" ] || fail "the drive keeps $before"
as_before() { [ "$(kept)" = "$before" ] || fail "after $1 the drive keeps $(kept), not $before"; }
empty_journal() { ! ls /run/iommu-tool/*.json >/dev/null 2>&1 || fail "the journal is not empty after $1"; }

# The drive's functions work only with queues and interrupts, and once they are online: then its driver has them.
says 0 'has 0 of 4' iommu-tool vfs $drive
says 0 'nvme virt-mgmt' iommu-tool vfs $drive 2 --dry-run
says 0 'has 2 of 4 virtual functions now, it had 0' iommu-tool vfs $drive 2
also "iommu-tool vfs $drive_bdf 0' gives them back"
[ "$(kept)" = "0 queues, 0 interrupts" ] || fail "the functions have what the drive keeps: $(kept)"
[ "$(ls -d /sys/class/nvme/nvme* | wc -l)" = 3 ] || fail "the drive's functions have no driver"
function=$(basename $(readlink $drive_path/virtfn0))
says 0 'on vfio-pci now' iommu-tool bind $function
says 0 PASSED iommu-tool test $function
says 0 'on nvme now' iommu-tool unbind $function
says 0 'has 3 of 4 virtual functions now, it had 2' iommu-tool vfs $drive 3
says 2 'can have 4 virtual functions, not 9' iommu-tool vfs $drive 9
says 0 'rt=0 --nr=7' iommu-tool vfs $drive 0 --dry-run
also "$drive_bdf/reset"
says 0 'has 0 of 4 virtual functions now, it had 3' iommu-tool vfs $drive 0
as_before "vfs"
empty_journal "vfs"
# Somebody else removes them: the controller gets back what it had all the same.
says 0 'has 1 of 4' iommu-tool vfs $drive 1
echo 0 >$drive_path/sriov_numvfs
says 0 'has 0 of 4' iommu-tool vfs $drive 0
as_before "a removal by hand"
empty_journal "a removal by hand"
says 0 FIT iommu-tool validate $drive --vfs 2 --level quick
as_before "validate"
echo "drive: ok"

# A reset stops a disk for a moment: not one that the host uses.
disk=/dev/${drive}n1
sleep 1000 <$disk & user=$!
for command in "vfs $drive 2" "vfs $drive 2 --dry-run" "validate $drive --vfs 2"; do
    says 3 "open: sleep (process $user" iommu-tool $command
    also 'allow open'
done
empty_journal "a refusal"
says 0 'has 2 of 4' iommu-tool vfs $drive 2 --allow open
says 3 'open: ' iommu-tool vfs $drive 0
[ "$(cat $drive_path/sriov_numvfs)" = 2 ] || fail "functions were removed in spite of the refusal"
says 0 'has 0 of 4' iommu-tool vfs $drive 0 --allow open
as_before "vfs of a drive in use"
kill $user; wait $user
echo "drive in use: ok"

for command in "vfs $drive 1" "vfs $drive 0"; do
    at=1
    while :; do
        case $command in *0) ends 0 iommu-tool vfs $drive 1 ;; esac
        "$killer" kill-at $at iommu-tool $command >/tmp/said 2>&1
        status=$?
        [ $status = 137 ] || break
        ends 0 iommu-tool recover
        [ "$(cat $drive_path/sriov_numvfs)" != 0 ] || as_before "recover after step $at of $command"
        ends 0 iommu-tool vfs $drive 0
        as_before "step $at of $command"
        empty_journal "step $at of $command"
        at=$((at + 1))
    done
    [ $status = 0 ] || fail "$command ended with $status"
    echo "steps of $command: $((at - 1))"
done
ends 0 iommu-tool vfs $drive 0
echo "drive killed: ok"

# What cannot be read is told, and no number is guessed.
echo '{"version": 2}' >/run/iommu-tool/functions-of-$drive_bdf.json
says 1 'functions-of-.* is damaged, or written by another version' iommu-tool recover
says 1 'functions-of-.* is damaged' iommu-tool recover --dry-run
says 1 'is damaged' iommu-tool vfs $drive 1
rm /run/iommu-tool/functions-of-$drive_bdf.json
says 0 'nothing was interrupted' iommu-tool recover
echo "damaged: ok"

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
