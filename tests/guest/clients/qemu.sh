# QEMU in the guest is given devices that this program bound, by the arguments that it prints.
card=/sys/class/net/eth0/device
pf=$(basename "$(readlink -f $card)")
log=/tmp/qemu.log
drive=$(basename "$(readlink -f /sys/class/nvme/nvme0/device)")

# Waits until the file $2, which QEMU writes, has the words $1.
wait_for() {
    until grep -q -- "$1" "$2" 2>/dev/null; do
        kill -0 $qemu 2>/dev/null || fail "QEMU ended before it said '$1'"
        usleep 20000
    done
}

# The arguments for the device $1 through $2.
arguments() {
    iommu-tool show --for qemu "$1" >/tmp/arguments || fail "no arguments for $1"
    grep -A 1 "# through $2" /tmp/arguments | tail -n 1
}

# Starts QEMU with these arguments and asks its monitor what it has.
start() {
    rm -f /tmp/monitor
    mkfifo /tmp/monitor
    # Its own processors stay stopped.
    qemu-system-x86_64 -nodefaults -display none -m 64 -S -monitor stdio "$@" </tmp/monitor >/tmp/qemu.log 2>&1 &
    qemu=$!
    exec 3>/tmp/monitor
    printf 'info qtree\ninfo pci\n' >&3
    wait_for 'dev: vfio-pci' /tmp/qemu.log
    wait_for 'PCI device 8086:10ca' /tmp/qemu.log
}

stop() {
    echo quit >&3
    exec 3>&-
    wait $qemu || fail "QEMU ended with $?"
}

ip link set eth0 up
says 0 'has 2 of 7 virtual functions now' iommu-tool vfs eth0 2
vf=$(basename "$(readlink $card/virtfn0)")
says 0 'on vfio-pci now, it was on igbvf' iommu-tool bind "$vf"
for backend in type1 iommufd; do
    # The words are meant to be several.
    # shellcheck disable=SC2046
    start $(arguments "$vf" $backend)
    by="qemu-system-x86 (process $qemu"
    says 0 "in use: $by, user root) has /dev/vfio/.* open (held)" iommu-tool list "$vf"
    says 0 "$vf is held by $by" iommu-tool maps
    says 0 "Held by .*$by" iommu-tool show "$vf"
    says 0 "device.in-use .*$by" iommu-tool doctor "$vf"
    says 0 "will not open: it is held by $by" iommu-tool show --for libvirt "$vf"
    says 3 "held by $by" iommu-tool unbind "$vf"
    says 3 "process $qemu (qemu-system-x86" iommu-tool test "$vf"
    says 3 "held by $by" iommu-tool vfs eth0 0
    # QEMU has mapped all memory of its machine.
    says 0 "= physical address" iommu-tool walk "$vf" 0x3fff000
    says 1 'NOT MAPPED' iommu-tool walk "$vf" 0x4000000
    stop
    says 0 'nothing is mapped' iommu-tool maps
    says 0 PASSED iommu-tool test --level quick --skip isolation --backend $backend "$vf"
    echo "through $backend: ok"
done
says 0 PASSED iommu-tool test --level quick "$vf"
says 0 'on igbvf now, it was on vfio-pci' iommu-tool unbind "$vf"
says 0 'has 0 of 7 virtual functions now' iommu-tool vfs eth0 0

# The machine in QEMU boots from the drive, so the drive's data comes to its memory by DMA: a program that writes its text to the
# port which the firmware writes its log to.
text='read from the drive'
{
    printf '\276\023\174\272\002\004\374'                     # mov si, 0x7c13; mov dx, 0x402; cld
    printf '\254\204\300\164\003\356\353\370\364\353\375\220' # 1: lodsb; test al, al; jz 2f; out dx, al; jmp 1b; 2: hlt; jmp 2b; nop
    printf '%s\n\0' "$text"
} | dd of=/dev/nvme0n1 conv=fsync 2>/dev/null
printf '\125\252' | dd of=/dev/nvme0n1 bs=1 seek=510 conv=fsync 2>/dev/null
says 0 'on vfio-pci now, it was on nvme' iommu-tool bind --owner user "$drive"
given=$(arguments "$drive" type1)
# Its user may lock as much memory as the machine has, and 64 MB for the rest.
ulimit -l 131072
su user -c "exec qemu-system-x86_64 -nodefaults -display none -m 64 -chardev file,id=log,path=/tmp/firmware.log \
    -device isa-debugcon,iobase=0x402,chardev=log $given" >/tmp/qemu.log 2>&1 &
qemu=$!
wait_for "$text" /tmp/firmware.log
says 3 "held by qemu-system-x86 (process $qemu, user user" iommu-tool unbind "$drive"
kill $qemu
wait $qemu
says 0 PASSED iommu-tool test --level quick "$drive"
says 0 'on nvme now, it was on vfio-pci' iommu-tool unbind "$drive"
echo "boots from the drive: ok"

# With the physical function in user space too, a virtual function asks for a token.
ip link set eth0 down
says 0 'on vfio-pci now, it was on igb' iommu-tool bind "$pf"
echo 1 >/sys/module/vfio_pci/parameters/enable_sriov
says 0 'takes the token' iommu-tool vfs "$pf" 1
says 3 'cannot show one' iommu-tool show --for libvirt "$vf"
given=$(iommu-tool show --for qemu "$vf")
# shellcheck disable=SC2086
says 1 'Permission denied' qemu-system-x86_64 -nodefaults -display none -S ${given%%,vf-token*}
# shellcheck disable=SC2086
start $given
stop
says 0 'has 0 of 8 virtual functions now' iommu-tool vfs "$pf" 0
says 0 'on igb now, it was on vfio-pci' iommu-tool unbind "$pf"
echo "by its token: ok"
