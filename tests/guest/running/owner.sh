# The nodes of a device are a user's until it is given back. Kernels without nodes for single devices have the group's only.
set -eu
group=$(iommu-tool bind --json 00:03.0 | sed -n 's/ *"group": \([0-9]*\),/\1/p')
nodes() { stat -c '%n %u:%g %a' /dev/vfio/$group /dev/vfio/devices/* 2>/dev/null || :; }
roots=$(nodes)
echo "$roots" | grep -q "^/dev/vfio/$group 0:0 600$"
refused() { # STATUS WORDS COMMAND...
    wanted=$1 words=$2 status=0
    shift 2
    "$@" >/dev/null 2>/tmp/said || status=$?
    cat /tmp/said
    [ $status -eq "$wanted" ] && grep -q "$words" /tmp/said
}

echo "Given, given on, and taken back from a device that was bound before:"
iommu-tool bind --owner user 00:03.0
[ "$(nodes)" = "$(echo "$roots" | sed 's/ 0:0 / 1000:0 /')" ]
iommu-tool bind --owner 1000:1000 00:03.0
[ "$(nodes)" = "$(echo "$roots" | sed 's/ 0:0 600/ 1000:1000 660/')" ]
iommu-tool bind --owner user:user 00:03.0 | grep -q 'nothing changed'
iommu-tool unbind 00:03.0
[ -z "$(nodes)" ]
iommu-tool bind 00:03.0
[ "$(nodes)" = "$roots" ]
iommu-tool unbind 00:03.0

echo "There must be such a user:"
refused 2 "no user 'nosuch'" iommu-tool bind --owner nosuch 00:03.0
refused 2 "no group 'nosuch'" iommu-tool bind --owner user:nosuch 00:03.0
refused 2 'USER or USER:GROUP' iommu-tool bind --owner : 00:03.0
[ -z "$(nodes)" ]

echo "udev comes first, and what cannot be given is taken back from the driver:"
mkdir -p /run/udev /tmp/bin && : >/run/udev/control
printf '#!/bin/sh\n[ "$1" = settle ] && chown 0:7 /dev/vfio/%s && chmod 604 /dev/vfio/%s\n' $group $group >/tmp/bin/udevadm
chmod +x /tmp/bin/udevadm
PATH=/tmp/bin:$PATH iommu-tool bind --owner user 00:03.0
[ "$(stat -c '%u:%g %a' /dev/vfio/$group)" = '1000:7 604' ]
iommu-tool unbind 00:03.0
printf '#!/bin/sh\nrm /dev/vfio/%s\n' $group >/tmp/bin/udevadm
PATH=/tmp/bin:$PATH refused 1 '' iommu-tool bind --owner user nvme0 00:03.0
grep -q '0000:00:03.0 has no driver, as before; 0000:01:00.0 is on nvme as before' /tmp/said
[ -z "$(nodes)$(ls /run/iommu-tool | grep json)" ]
rm /run/udev/control

echo "A driver by name:"
iommu-tool bind --driver vfio-pci --owner user 00:03.0 | tee /tmp/said
grep -q "the nodes are user's until unbind" /tmp/said
iommu-tool bind --driver auto 00:03.0 | grep -q 'nothing changed'
refused 2 'not a VFIO driver' iommu-tool bind --driver igb 00:03.0
iommu-tool bind --dry-run --owner user nvme0 | tail -n 2 | tee /tmp/said

echo "The dry run is shell that does it:"
iommu-tool unbind 00:03.0
iommu-tool bind --dry-run --owner user 00:03.0 >/tmp/there
iommu-tool bind --owner user 00:03.0 >/dev/null
given=$(nodes)
iommu-tool unbind 00:03.0 >/dev/null
sh -e /tmp/there 2>/tmp/said || [ ! -e /dev/vfio/devices ]
[ "$(nodes)" = "$given" ]
iommu-tool unbind 00:03.0

echo "An ordinary user tests the device, and is told what he cannot:"
iommu-tool bind --owner user nvme0
status=0
su user -c 'iommu-tool test 01:00.0' >/tmp/out 2>&1 || status=$?
cat /tmp/out
[ $status -eq 0 ]
grep -q '^PASSED' /tmp/out
grep -q 'it takes root' /tmp/out
# The name that went away with the driver is his too, and whatever umask root has.
su user -c 'iommu-tool test nvme0' >/tmp/out 2>&1 || { cat /tmp/out; exit 1; }
grep -q '^PASSED' /tmp/out
iommu-tool unbind nvme0
rm -r /run/iommu-tool
(umask 077; iommu-tool bind --owner user nvme0)
su user -c 'iommu-tool show nvme0' >/tmp/out 2>&1 || { cat /tmp/out; exit 1; }
grep -q 'vfio-pci' /tmp/out
iommu-tool unbind nvme0

echo "An ordinary user is told of an interrupted command:"
iommu-tool run nvme0 -- sh -c 'trap exit TERM; touch /tmp/started; while :; do usleep 10000; done' & run=$!
until [ -e /tmp/started ]; do usleep 10000; done
kill -KILL $run
wait $run || :
su user -c 'iommu-tool list' >/tmp/out 2>&1
grep "a command on 0000:01:00.0 was interrupted, or is at work: 'iommu-tool recover'" /tmp/out || { cat /tmp/out; exit 1; }
iommu-tool recover
