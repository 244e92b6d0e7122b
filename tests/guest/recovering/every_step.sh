# Kills a group bind, an unbind and a recover before each of their steps, and has recover put the group back each time.
first=0000:00:08.0 second=0000:00:08.1

state() {
    for bdf in $first $second; do
        readlink /sys/bus/pci/devices/$bdf/driver
        cat /sys/bus/pci/devices/$bdf/driver_override
    done
    ls /run/iommu-tool 2>/dev/null | grep json
    true
}

# Kills COMMAND at each step in turn; after each time `recover` must lead to the state $before.
at_every_step() {
    name=$1; shift
    prepare=$1; shift
    at=1
    while :; do
        sh -c "$prepare" >/dev/null || fail "$prepare"
        "$killer" kill-at $at "$@" >/tmp/said 2>&1
        status=$?
        [ $status = 137 ] || break
        if ls /run/iommu-tool 2>/dev/null | grep -q json; then
            if ! iommu-tool recover >/tmp/recovered 2>&1; then
                cat /tmp/recovered; fail "recover after step $at of $name"
            fi
        fi
        # What was done before the first note, or after the last, is whole.
        iommu-tool unbind $first $second >/tmp/said 2>&1 || fail "unbind after step $at of $name"
        [ "$(state)" = "$before" ] || { state; fail "not as before after step $at of $name"; }
        at=$((at + 1))
    done
    [ $status = 0 ] || fail "$name ended with $status"
    echo "steps of $name: $((at - 1))"
}

before=$(state)
at_every_step "bind --group" true iommu-tool bind --group $first
[ "$(readlink /sys/bus/pci/devices/$second/driver)" = ../../../bus/pci/drivers/vfio-pci ] || fail "the second function did not come along"
iommu-tool unbind $first $second >/dev/null || fail "unbind"
[ "$(state)" = "$before" ] || fail "not as before"

at_every_step "unbind" "iommu-tool bind --group $first" iommu-tool unbind $first $second

# While something is unfinished, nothing else changes the device.
"$killer" kill-at 12 iommu-tool bind --group $first >/dev/null 2>&1
for command in "bind $first" "unbind $second" "run $first -- true"; do
    iommu-tool $command >/tmp/said 2>&1
    status=$?
    grep -q "iommu-tool recover" /tmp/said || fail "$command does not name recover"
    case "$command:$status" in run*:125 | *:3) ;; *) fail "$command ended with $status" ;; esac
done
iommu-tool list 2>&1 | grep -q "'iommu-tool recover'" || fail "list does not tell"
iommu-tool recover --dry-run | grep -q nvme || fail "the dry run does not tell"
iommu-tool recover || fail "recover"
iommu-tool recover | grep -q "nothing was interrupted" || fail "recover with nothing to do"
[ "$(state)" = "$before" ] || fail "not as before"

# Killed while it recovers, it recovers again.
at_every_step "recover" "$killer kill-at 12 iommu-tool bind --group $first; test -e /run/iommu-tool/$second.json" iommu-tool recover

# The second function cannot be bound: the first is back on its driver.
mount --bind /dev/full /sys/bus/pci/devices/$second/driver_override || fail "mount"
iommu-tool bind --group $first >/tmp/said 2>&1
status=$?
umount /sys/bus/pci/devices/$second/driver_override
[ $status = 1 ] || fail "bind with a file that takes nothing ended with $status"
grep -q "$first is on nvme as before" /tmp/said || fail "the undoing is not told"
[ "$(state)" = "$before" ] || { state; fail "not as before"; }
