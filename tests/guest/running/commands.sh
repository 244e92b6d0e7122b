# A command with a disk of its own, and the disk back with its driver whatever becomes of the command.
set -eu
disk=0000:01:00.0
state() { readlink /sys/bus/pci/devices/$disk/driver; cat /sys/bus/pci/devices/$disk/driver_override; ls /sys/bus/pci/devices/$disk/nvme; }
before=$(state)
content() { sha256sum /dev/nvme0n1; }
dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=4 2>/dev/null
written=$(content)
as_before() { # WHAT
    [ "$(state)" = "$before" ] || { echo "after $1: $(state)"; exit 1; }
    [ -z "$(ls /run/iommu-tool | grep json)" ] || { echo "after $1 the journal has entries"; exit 1; }
}
ends() { # STATUS COMMAND...
    wanted=$1 status=0
    shift
    "$@" >/tmp/out 2>/tmp/said || status=$?
    [ $status -eq "$wanted" ] || { echo "$* ended with $status, not $wanted"; cat /tmp/said; exit 1; }
    as_before "$*"
}
on_vfio() { readlink /sys/bus/pci/devices/$disk/driver | grep -q vfio-pci; }

echo "The status is the command's:"
ends 0 iommu-tool run nvme0 -- true
[ "$(content)" = "$written" ]
ends 42 iommu-tool run nvme0 -- sh -c 'exit 42'
ends 137 iommu-tool run nvme0 -- sh -c 'kill -KILL $$'
ends 0 iommu-tool run nvme0 -- iommu-tool test 01:00.0
grep '^PASSED' /tmp/out
[ "$(content)" = "$written" ]

echo "The command knows its devices, and its surroundings are as without run:"
ends 0 iommu-tool run nvme0 00:03.0 -- sh -c 'env; grep Sig /proc/$$/status; readlink /sys/bus/pci/devices/0000:01:00.0/driver'
grep -q '^IOMMU_TOOL_DEVICES=0000:01:00.0,0000:00:03.0$' /tmp/out
grep -q '^IOMMU_TOOL_GROUP_NODES=/dev/vfio/[0-9]*,/dev/vfio/[0-9]*$' /tmp/out
grep -q 'drivers/vfio-pci$' /tmp/out
grep -q '^SigBlk:.0*$' /tmp/out
[ "$(echo words | iommu-tool run nvme0 -- cat)" = words ]
as_before 'standard input'

echo "What cannot be run changes nothing:"
for case in '127 nosuch' '127 /no/such' '126 /etc/passwd' '126 /tmp'; do
    mv /run/iommu-tool /run/aside
    ends "${case% *}" iommu-tool run nvme0 -- "${case#* }"
    [ ! -e /run/iommu-tool ]
    mv /run/aside /run/iommu-tool
    grep -q 'nothing was changed' /tmp/said
done
ends 125 iommu-tool run nosuch0 -- true
ends 125 iommu-tool run --nosuch nvme0 -- true
ends 125 iommu-tool run nvme0
ends 125 iommu-tool run --driver igb nvme0 -- true
grep -q 'not a VFIO driver' /tmp/said
mkswap /dev/nvme0n1 >/dev/null && swapon /dev/nvme0n1
ends 125 iommu-tool run nvme0 -- touch /tmp/ran
grep -q 'in use' /tmp/said
[ ! -e /tmp/ran ]
swapoff /dev/nvme0n1
printf '#!/no/such/interpreter\n' >/tmp/script && chmod +x /tmp/script
ends 127 iommu-tool run nvme0 -- /tmp/script
grep -q 'back on their drivers' /tmp/said
ends 0 iommu-tool run --dry-run nvme0 -- echo 'a b'
[ "$(grep -n "echo 'a b'" /tmp/out)" = "4:echo 'a b'" ]
[ "$(wc -l </tmp/out)" -eq 8 ]

echo "Signals reach the command, and then the driver is back:"
for case in '143 TERM' '130 INT' '129 HUP' '131 QUIT' '138 USR1'; do
    # In the foreground: a shell has its background commands ignore SIGINT.
    { until on_vfio && pidof sleep >/dev/null; do usleep 10000; done; kill -"${case#* }" $(cat /tmp/pid); } &
    ends "${case% *}" sh -c 'echo $$ >/tmp/pid; exec iommu-tool run nvme0 -- sleep 1000'
    wait
done
# One that goes on after a signal is waited for; a second one while the driver comes back is too late to change that.
cat >/tmp/stubborn <<'END'
#!/bin/sh
trap 'echo got it; trapped=yes' TERM
while [ -z "${trapped-}" ]; do usleep 10000; done
(usleep 50000; kill -INT $PPID; kill -TERM $PPID) &
exit 7
END
chmod +x /tmp/stubborn
{ until on_vfio && pidof stubborn >/dev/null; do usleep 10000; done; usleep 200000; kill -TERM $(cat /tmp/pid); } &
ends 7 sh -c 'echo $$ >/tmp/pid; exec iommu-tool run nvme0 -- /tmp/stubborn'
grep -q 'got it' /tmp/out
wait

echo "A command leaves a process behind that has the device open:"
status=0
iommu-tool run 00:03.0 nvme0 -- iommu-tool map 00:03.0 --size 2M 2>/tmp/said || status=$?
cat /tmp/said
[ $status -eq 125 ]
grep -q 'waiting 10 seconds' /tmp/said
grep -q "held by iommu-tool (process [0-9]*" /tmp/said
grep -q "'iommu-tool recover 0000:00:03.0' gives them back" /tmp/said
[ "$(state)" = "$before" ]
iommu-tool unmap 00:03.0 --all
iommu-tool recover 00:03.0
as_before 'a process left behind'
# One that ends in time is waited for. No holder: cat has the node open.
ends 0 iommu-tool run 00:03.0 -- sh -c 'sleep 2 <>$(echo $IOMMU_TOOL_GROUP_NODES) & :'
grep -q 'waiting 10 seconds' /tmp/said

echo "run is killed: its command gets SIGTERM, and the driver comes back on demand:"
iommu-tool run --owner user nvme0 00:03.0 -- sh -c 'trap "echo ended >/tmp/ended; exit" TERM; touch /tmp/started; while :; do usleep 10000; done' &
run=$!
until [ -e /tmp/started ]; do usleep 10000; done
status=0
iommu-tool unbind nvme0 2>/tmp/said || status=$?
[ $status -eq 3 ] && grep -q "process $run) has 0000:01:00.0 until" /tmp/said
usleep 200000
kill -KILL $run
until [ -e /tmp/ended ]; do usleep 10000; done
on_vfio
status=0
iommu-tool bind nvme0 2>/tmp/said || status=$?
cat /tmp/said
[ $status -eq 3 ] && grep -q "interrupted: 'iommu-tool recover 0000:01:00.0'" /tmp/said
iommu-tool recover
as_before 'a killed run'

echo "What was on VFIO before stays there:"
iommu-tool bind nvme0
status=0
iommu-tool run --owner user nvme0 -- true 2>/tmp/said || status=$?
[ $status -eq 125 ] && grep -q 'takes such a device as it is' /tmp/said
iommu-tool run nvme0 -- true
on_vfio
iommu-tool unbind nvme0
as_before 'all of it'
[ ! -e /sys/bus/pci/devices/0000:00:03.0/driver ]
