# An ordinary user cannot see, change or stop what root holds, and does all of it with a device of his own. $1: the backend
set -eu
backend=$1
set -- $(iommu-tool list --json 1234:11e8 2>&1 | sed -n 's/.*means several.*: \(.*\), \(.*\)",*/\1 \2/p')
roots=$1 users=$2
iommu-tool bind $roots >/dev/null
iommu-tool bind --owner user $users
group() { readlink /sys/bus/pci/devices/$1/iommu_group | sed 's/.*\///'; }

# A rule of udev would do this, as bind says.
chmod 666 /dev/iommu
mkdir -p /run/user/1000 && chown user /run/user/1000 && chmod 700 /run/user/1000
as_user() { su user -c "export PATH=$PATH XDG_RUNTIME_DIR=/run/user/1000; $1"; }
refused() { # STATUS WORDS COMMAND
    status=0
    as_user "$3" >/tmp/said 2>&1 || status=$?
    cat /tmp/said
    [ $status -eq "$1" ]
    grep -q "$2" /tmp/said
}

iommu-tool map $roots --backend $backend --size 8K --iova 0x100000
iommu-tool fill $roots --iova 0x100000 --data 5ec2e7 >/dev/null
pid=$(iommu-tool maps --json | sed -n 's/.*"pid": \([0-9]*\),/\1/p')

echo "Root's is out of reach:"
[ "$(as_user 'iommu-tool maps')" = 'nothing is mapped' ]
refused 3 'of root' "iommu-tool maps $roots"
refused 3 'of root' "iommu-tool unmap $roots --all"
refused 3 'of root' "iommu-tool dump $roots --iova 0x100000"
refused 3 'of root' "iommu-tool map $roots --size 4K"
refused 3 'of root' "iommu-tool dma $roots read --iova 0x100000 --size 4"
refused 1 '' "kill $pid"
refused 1 '' "rm /run/iommu-tool/group-$(group $roots).sock"
[ "$(iommu-tool maps --json | grep -c '"iova"')" -eq 1 ]

echo "His own is his:"
as_user "iommu-tool map $users --backend $backend --size 8K --iova 0x100000"
as_user "iommu-tool fill $users --iova 0x100000 --data 0b5e"
as_user "iommu-tool dump $users --iova 0x100000 --size 4"
as_user "iommu-tool dma $users write --iova 0x100010 --data c0ffee"
as_user "iommu-tool dma $users read --iova 0x10000f --size 4"
as_user "iommu-tool maps"
# His own holder ends when he says so, also by force; its mappings are gone then.
as_user "kill $(as_user 'iommu-tool maps --json' | sed -n 's/.*"pid": \([0-9]*\),/\1/p')"
until [ "$(as_user 'iommu-tool maps')" = 'nothing is mapped' ]; do usleep 10000; done
as_user "iommu-tool map $users --backend $backend --size 8K"
as_user "iommu-tool unmap $users --all"
as_user "iommu-tool map $users --backend $backend --size 8K --iova 0x100000"
as_user "iommu-tool maps --json" | grep -q '"uid": 1000'

echo "Root sees and ends both:"
[ "$(iommu-tool maps --json | grep -c '"pid"')" -eq 2 ]
iommu-tool maps
iommu-tool unmap $users --all
iommu-tool unmap $roots --all

echo "What listens in a user's folder is believed only if it has the group:"
as_user "iommu-tool map $users --backend $backend --size 8K --iova 0x100000"
impostor=$(iommu-tool maps --json | sed -n 's/.*"pid": \([0-9]*\),/\1/p')
folder=/run/user/1000/iommu-tool
his=$folder/group-$(group $users).sock roots_name=$folder/group-$(group $roots).sock
as_root() { # STATUS WORDS COMMAND...
    expected=$1 words=$2 status=0
    shift 2
    "$@" >/tmp/said 2>&1 || status=$?
    cat /tmp/said
    [ $status -eq "$expected" ]
    grep -q "$words" /tmp/said
}
dd if=/dev/urandom of=/dev/shm/secret bs=4096 count=1 2>/dev/null
chmod 600 /dev/shm/secret
# A holder that greets as it should, under the name of another group.
as_user "mv $his $roots_name"
as_root 0 "process $impostor of user 1000 listens there, but does not hold IOMMU group $(group $roots)" iommu-tool maps
as_root 2 'nothing is mapped' iommu-tool unmap $roots --iova 0x100000
as_root 0 '^0x.* 4K' iommu-tool map $roots --backend $backend --file /dev/shm/secret --name secret
grep -q 'passed over' /tmp/said && exit 1
[ "$(iommu-tool maps --json $roots | sed -n 's/.*"uid": \([0-9]*\),/\1/p')" = 0 ]
[ "$(ls -l /proc/$impostor/fd | grep -c secret)" -eq 0 ]
iommu-tool unmap $roots --all
as_user "mv $roots_name $his"
# Something that is no socket.
as_user "touch $roots_name"
as_root 0 'passed over: .* is not a socket' iommu-tool maps
grep -q '0x100000' /tmp/said
iommu-tool map $roots --backend $backend --size 8K
iommu-tool unmap $roots --all
as_user "rm $roots_name"
# His holder, which says nothing more.
kill -STOP $impostor
as_root 0 "passed over: .* (process $impostor) does not answer" iommu-tool maps
kill -CONT $impostor

echo "Root looks into a user's holder, and gives it nothing to map:"
iommu-tool dump $users --iova 0x100000 --size 4
as_root 3 "process $impostor" iommu-tool map $users --size 4K
iommu-tool unmap $users --all

echo "A limit that is too low is named, and nothing is left behind:"
refused 1 'RLIMIT_MEMLOCK' "ulimit -l 64; iommu-tool map $users --backend $backend --size 1M"
[ "$(as_user 'iommu-tool maps')" = 'nothing is mapped' ]
[ -z "$(ls /run/user/1000/iommu-tool | grep 'group-.*sock')" ]
iommu-tool unbind $roots $users >/dev/null
