# A network interface that is used in some way is not taken away, unless just that is allowed.
nic=0000:02:00.0
# Another host on the same wire.
unshare -n sleep 600 &
peer=$!
wire=$(basename /sys/bus/virtio/devices/*/net/*)
until [ "$(readlink /proc/$peer/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.1; done
ip link set "$wire" netns $peer
there() { nsenter --net=/proc/$peer/ns/net "$@"; }
there ip addr add 192.0.2.9/24 dev "$wire"
there ip link set "$wire" up
name() {
    until ls /sys/bus/pci/devices/$nic/net/* >/dev/null 2>&1; do sleep 0.1; done
    basename /sys/bus/pci/devices/$nic/net/*
}

if=$(name)
iommu-tool bind $nic
iommu-tool unbind $nic
echo 'PASS: an interface that nothing uses is taken without a word'

if=$(name)
ip link set "$if" up
ip addr add 192.0.2.1/24 dev "$if"
iommu-tool list $nic
iommu-tool list $nic | grep -q "in use: $if is up and has 192.0.2.1/24 (address)"
case_of 'an address' $nic address "$if is up and has 192.0.2.1/24"

if=$(name)
ip link set "$if" up
ip route add default dev "$if"
case_of 'the default route' $nic route "the default route goes out by $if"

if=$(name)
ip link set "$if" up
ip addr add 192.0.2.1/24 dev "$if"
ip route add default via 192.0.2.9
ip route add 198.51.100.0/24 via 192.0.2.9
case_of 'an address and routes' $nic 'address route' \
    "the default route by 192.0.2.9, the route to 198.51.100.0/24 by 192.0.2.9 go out by $if"

if=$(name)
echo "+$if" >/sys/class/net/bond0/bonding/slaves
case_of 'a bond' $nic bond "$if is part of the bond bond0"

if=$(name)
echo "+$if" >/sys/class/net/bond0/bonding/slaves
ip link set bond0 up
ip addr add 192.0.2.1/24 dev bond0
ip route add default via 192.0.2.9
case_of 'the default route by a bond' $nic 'address bond route' \
    "bond0 on $if is up and has 192.0.2.1/24" "the default route by 192.0.2.9 goes out by bond0 on $if"

if=$(name)
echo "+$if" >/sys/class/net/bond0/bonding/slaves
ip link add link bond0 name bond0.7 type vlan id 7
ip link set bond0 up
ip link set bond0.7 up
ip addr flush dev bond0
ip addr add 192.0.2.1/24 dev bond0.7
case_of 'a VLAN on a bond' $nic 'address bond vlan' \
    "bond0 on $if carries the VLAN bond0.7" "bond0.7 on bond0 on $if is up and has 192.0.2.1/24"
ip link delete bond0.7

if=$(name)
brctl addbr br0
brctl addif br0 "$if"
case_of 'a bridge' $nic bridge "$if is part of the bridge br0"

if=$(name)
brctl addif br0 "$if"
ip link set "$if" up
ip link set br0 up
ip addr add 192.0.2.1/24 dev br0
ip route add default via 192.0.2.9
case_of 'the default route by a bridge' $nic 'address bridge route' \
    "br0 on $if is up and has 192.0.2.1/24" "the default route by 192.0.2.9 goes out by br0 on $if"
ip link set br0 down
brctl delbr br0

if=$(name)
ip link add link "$if" name "$if.5" type vlan id 5
case_of 'a VLAN' $nic vlan "$if carries the VLAN $if.5" "ip link delete $if.5"

if=$(name)
ip link add link "$if" name mv0 type macvlan
case_of 'a macvlan' $nic macvlan "$if carries the macvlan mv0"

unshare -n sleep 600 &
container=$!
until [ "$(readlink /proc/$container/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.1; done
if=$(name)
ip link add link "$if" name mv1 type macvlan
ip link set mv1 netns $container
case_of "a container's macvlan" $nic macvlan \
    "$if carries the macvlan mv1 of another network namespace, that of sleep (process $container, user root)" \
    "nsenter --net=/proc/$container/ns/net ip link delete mv1"

if=$(name)
echo "+$if" >/sys/class/net/bond0/bonding/slaves
ip link add link bond0 name bond0.7 type vlan id 7
ip link set bond0.7 netns $container
case_of "a container's VLAN on a bond" $nic 'bond vlan' "bond0 on $if carries the VLAN bond0.7 of another network namespace"
kill $container
wait $container || true

if=$(name)
ip link set "$if" up
udhcpc -f -i "$if" -t 100 -T 100 -s /bin/true >/dev/null 2>&1 &
reader=$!
until grep -q ' 0800 ' /proc/net/packet; do sleep 0.1; done
case_of 'a packet socket' $nic packet "udhcpc (process $reader, user root) reads $if by a packet socket"
kill $reader || true

if=$(name)
ip addr add 192.0.2.1/24 dev "$if"
ip link set "$if" up
nc -ll -p 22 -e sleep 600 &
sleep 600 | there nc 192.0.2.1 22 &
until grep -q ' 010200C0:0016 [0-9A-F:]* 01 ' /proc/net/tcp; do sleep 0.1; done
case_of 'a remote login' $nic 'address session' \
    "TCP sessions go by $if: a remote login, 192.0.2.9 to 192.0.2.1 port 22"

unshare -n sleep 600 &
container=$!
until [ "$(readlink /proc/$container/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.1; done
ip link set "$(name)" netns $container
case_of 'an interface in another network namespace' $nic namespace 'another network namespace'

echo 2 >/sys/bus/pci/devices/$nic/sriov_numvfs
function=$(basename "$(readlink /sys/bus/pci/devices/$nic/virtfn1)")
iommu-tool bind "$function"
iommu-tool map "$function" --size 4K --iova 0x100000 >/dev/null
refused $nic 'held vfs' '' "virtual function $function: iommu-tool (process" "no --allow lifts 'held'"
refused $nic held vfs "virtual function $function"
echo 'PASS: a virtual function that is held'
iommu-tool unmap "$function" --all
until iommu-tool unbind "$function" 2>/dev/null; do sleep 0.1; done
case_of 'virtual functions' $nic vfs 'its 2 virtual functions' "iommu-tool vfs $nic 0"

# What is neither a disk nor an interface is reached by a node of its own driver.
serial=0000:00:0e.0
node=/dev/$(basename /sys/bus/pci/devices/$serial/virtio*/virtio-ports/*)
sleep 600 <"$node" &
opener=$!
case_of 'a device that a process has open' $serial open "sleep (process $opener, user root) has $node open"
kill $opener

# A device that another program holds is not touched.
edu=0000:00:03.0
iommu-tool bind $edu
group=/dev/vfio/$(basename "$(readlink /sys/bus/pci/devices/$edu/iommu_group)")
sleep 600 <>"$group" &
holder=$!
until [ "$(readlink /proc/$holder/fd/0)" = "$group" ]; do sleep 0.1; done
for command in test bench 'map --size 4K' unbind; do
    status=0
    # The words of a command are to be split.
    # shellcheck disable=SC2086
    iommu-tool $command $edu >/tmp/json 2>/tmp/said || status=$?
    cat /tmp/said
    [ $status -eq 3 ] || failed "$command exits with $status, not 3"
    grep -q sleep /tmp/said && grep -q "process $holder" /tmp/said || failed "$command does not name the holder"
done
kill $holder
wait $holder || true
iommu-tool unbind $edu
echo 'PASS: a device that another program holds'
