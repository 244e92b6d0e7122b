# What is wrong is named, what is not is still checked, and all is put back.

# As `says`, in the first line.
first() {
    status=$1 words=$2
    shift 2
    ends $status "$@"
    head -n 1 /tmp/said | grep -q -- "$words" || fail "$* does not say '$words' first"
}

devices=/sys/bus/pci/devices
# The card below a switch whose ports have no access control services, and the one below a root port that has them.
for net in /sys/class/net/*/device; do
    device=$(readlink -f $net); above=$(dirname $device)
    case $(cat $device/device) in 0x10c9) ;; *) continue ;; esac
    case $(cat $above/device) in
        0x8233) open=$(basename $device) bridge=$(basename $above) ;;
        *) card=$(basename $device) ;;
    esac
    ip link set "$(basename "$(dirname $net)")" up
done
at=$devices/$card

state() {
    for device in $card $open $(for f in $at/virtfn*; do [ -e $f ] && basename "$(readlink $f)"; done); do
        echo "$device $(readlink $devices/$device/driver) $(cat $devices/$device/driver_override)"
    done
    cat $at/sriov_numvfs $at/sriov_drivers_autoprobe $devices/$open/sriov_numvfs
    ls /run/iommu-tool | grep json
}
same() { [ "$(state)" = "$before" ] || fail "$1: not as before: $before; now: $(state)"; }
before=$(state)

first 1 "^UNFIT: .*function.acs of .* switch downstream port $bridge has no access control services" \
    iommu-tool validate $open --vfs 2 --level quick
same "without isolation"
echo "isolation: ok"

# One function is held, one cannot be reset, of one a write to sysfs fails; the fourth is well.
iommu-tool vfs $card 4 --no-autoprobe >/dev/null || fail "vfs: $?"
set -- $(for number in 0 1 2 3; do basename "$(readlink $at/virtfn$number)"; done)
iommu-tool bind $1 >/dev/null || fail "bind: $?"
iommu-tool hold $1 2>/tmp/log & holder=$!
until iommu-tool maps --json | grep -q '"pid"'; do sleep 0.1; done
echo >$devices/$2/reset_method
with_functions=$(state)
mount --bind /dev/full $devices/$3/driver_override || fail "mount"
first 1 "^UNFIT: do not hand out $card with 4 virtual functions" iommu-tool validate $card --level quick
also "FAIL  function.open of $1 .*process $holder"
also "held by iommu-tool (process $holder"
also "FAIL  function.reset of $2 .*no way to reset it alone"
also "FAIL  function.bound of $3: .*driver_override' failed: ENOSPC"
! grep -q "^FAIL.*$4" /tmp/said || fail "$4 fails too"
umount $devices/$3/driver_override
# Named by itself, it is in use, which says nothing of how fit it is.
first 3 "who holds a device must let go of it" iommu-tool validate $1 $2 --level quick
also "held: iommu-tool (process $holder, user root) has /dev/vfio/.* open; to end it: end process $holder"
[ "$(state)" = "$with_functions" ] || fail "not as before: $with_functions; now: $(state)"
kill $holder; wait $holder
first 3 "has 4 virtual functions, and to make 2" iommu-tool validate $card --vfs 2
iommu-tool unbind $1 >/dev/null && iommu-tool vfs $card 0 >/dev/null || fail "clean up"
same "with functions that fail"
echo "functions that fail: ok"

# Somebody takes a function in the middle, and keeps it.
iommu-tool validate $card --vfs 2 --level quick >/tmp/said 2>&1 & validation=$!
until [ -e /dev/vfio/devices/vfio0 ]; do usleep 10000; done
sleep 1000 </dev/vfio/devices/vfio0 & holder=$!
wait $validation
[ $? = 1 ] || fail "a function that is held is found fit"
also "after.restored .* is held by sleep (process $holder"
first 3 "recover" iommu-tool validate $card --level quick
kill $holder; wait $holder
iommu-tool recover >/dev/null || fail "recover: $?"
same "held in the middle"
echo "held in the middle: ok"

# A device that is used is not judged: through VFIO, or by the host.
iommu-tool bind $open >/dev/null || fail "bind: $?"
sleep 1000 </dev/vfio/devices/vfio0 & holder=$!
first 3 "who holds a device must let go of it" iommu-tool validate $open --level quick
also "held: sleep (process $holder"
kill $holder; wait $holder
iommu-tool unbind $open >/dev/null || fail "unbind: $?"
net=$(ls $at/net)
ip addr add 192.0.2.7/24 dev $net
first 3 "end what uses the device, or take it away" iommu-tool validate $card --vfs 0 --level quick
also "address: $net is up and has 192.0.2.7"
ip addr flush dev $net
same "in use"
echo "in use: ok"

first 1 "vfs.count of $card takes more than 1 s" iommu-tool validate $card --vfs 1 --level quick --limit 1
also "^UNFIT: .*more than the 1 s that are allowed"
first 2 "can have 7 virtual functions, not 8" iommu-tool validate $card --vfs 8
first 2 "no virtual functions to offer" iommu-tool validate 00:00.0 --vfs 1
same "refused"
for delay in 0.5 3 6; do
    iommu-tool validate $card --vfs 2 >/tmp/said 2>&1 & validation=$!
    sleep $delay
    kill -INT $validation
    wait $validation
    [ $? = 1 ] && grep -q '^INTERRUPTED: no verdict' /tmp/said || fail "Ctrl-C after $delay s"
    same "Ctrl-C after $delay s"
done
echo "limits, refusals and Ctrl-C: ok"

step=1
while :; do
    "$killer" kill-at $step iommu-tool validate $card --vfs 1 --level quick >/tmp/said 2>&1
    status=$?
    [ $status = 137 ] || break
    iommu-tool recover >/tmp/said 2>&1 || fail "recover after step $step: $?"
    same "killed at step $step"
    step=$((step + 3))
done
[ $status = 0 ] || fail "validate ended with $status"
same "not killed"
echo "killed at every third of $step steps: ok"
