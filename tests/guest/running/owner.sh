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
iommu-tool unbind nvme0
