# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_iommu_tool_global_optspecs
    string join \n json v/verbose q/quiet color= sysroot= h/help V/version
end

function __fish_iommu_tool_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_iommu_tool_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_iommu_tool_using_subcommand
    set -l cmd (__fish_iommu_tool_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -s V -l version -d 'Print version'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "list" -d 'Show IOMMU groups, their devices and drivers, and what keeps a group from being assigned'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "show" -d 'Show everything about one device: group, isolation, regions, interrupts, resets, SR-IOV, what the IOMMU allows'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "doctor" -d 'Check whether this host, and the devices named, are ready for VFIO, and say what to do about it'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "capture" -d 'Write what list, show and doctor read of this host to a folder, to send with a bug report'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "bind" -d 'Hand a device to VFIO, and remember the driver it had'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "unbind" -d 'Give a device back to the driver it had before bind'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "vfs" -d 'Make or remove the virtual functions of a device with SR-IOV'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "recover" -d 'Put back what interrupted commands left behind'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "run" -d 'Bind devices, run a command with them, and give them back whatever happens'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "hold" -d 'Own an address space and the devices in it, in the foreground, for a service manager'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "map" -d 'Map memory for a device, and keep it mapped'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "unmap" -d 'Take mappings out'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "maps" -d 'Show what is mapped now, and by whom'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "dump" -d 'Print the bytes of mapped memory'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "fill" -d 'Set the bytes of mapped memory'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "dma" -d 'Have the device itself read or write mapped memory'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "test" -d 'Prove by DMA that a device reaches the memory mapped for it, and nothing else'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "validate" -d 'Check whether a device, or a physical function with its virtual ones, is fit to be handed out'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "bench" -d 'Measure how long mapping and unmapping memory takes'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "compare" -d 'Show what became slower or faster from one run of bench to another'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "walk" -d 'Show how the IOMMU translates an address of a device, step by step'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "faults" -d 'Show what devices tried and an IOMMU blocked'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "completions" -d 'Print the completion script for a shell'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -l tree -d 'Show which bridges the devices are below'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand show" -l for -d 'Print only what another program is given to take the device, which must be bound: arguments, or XML' -r -f -a "qemu\t'QEMU: arguments'
libvirt\t'libvirt: an element for the domain\'s XML'
cloud-hypervisor\t'Cloud Hypervisor: arguments'
dpdk\t'DPDK: arguments of the environment abstraction layer'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand show" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand show" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand show" -l no-open -d 'Do not open the device'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand show" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand show" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand show" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -l memory -d 'How much memory is to be mapped for devices, as 24G: will it fit, in which pages, in how many mappings?' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -l strict -d 'Count warnings as failures'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -l no-open -d 'Do not open any device'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand capture" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand capture" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand capture" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand capture" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand capture" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand capture" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l driver -d 'The VFIO driver: auto is the variant of vfio-pci that this kernel has for the device (modules.alias), else vfio-pci [default: vfio-pci, or the VFIO driver that the device is on already]' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l owner -d 'Give the devices\' nodes in /dev/vfio to this user, by name or number, until they are given back; with :GROUP to a group too' -r -f -a "(__fish_complete_users)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l allow -d 'Take a device that is in use for this reason all the same; a refusal names its reasons. May be given several times' -r -f -a "mounted\t'A file system on the disk, or on an array or mapping that uses it, is mounted'
swap\t'The disk, or an array or mapping that uses it, is swap space'
md\t'The disk is part of a RAID array (md)'
dm\t'A device-mapper device is on the disk: LVM, LUKS, multipath'
claimed\t'Something else has claimed the disk for itself: it cannot be opened with O_EXCL (ZFS, btrfs, bcache, DRBD)'
open\t'A process has a node of the device in /dev open: a disk, or of a driver for graphics, RDMA, sound, UIO or anything else'
address\t'A network interface has an IP address'
route\t'The default route, or another one, goes out by a network interface'
bond\t'The network interface is part of a bond or team'
bridge\t'The network interface is part of a bridge'
vlan\t'A VLAN interface is on the network interface'
macvlan\t'A macvlan, macvtap or ipvlan interface is on the network interface'
stacked\t'Another kind of interface is on the network interface'
packet\t'A process reads the network interface directly (AF_PACKET): a DHCP client, a packet capture'
session\t'TCP connections go through a network interface: a remote login among them'
namespace\t'The network interface is in another network namespace, as that of a container'
display\t'The display shows the console or a picture'
vfs\t'The device has virtual functions, which go away with its driver'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l group -d 'Take along what else of the devices\' IOMMU groups has to move: all of it or none'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l dry-run -d 'Print each write to sysfs as a shell command, and change nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -l dry-run -d 'Print each write to sysfs as a shell command, and change nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -l allow -d 'Take away functions, and reset an NVMe drive where that is needed, although they are in use for this reason; a refusal names its reasons. May be given several times' -r -f -a "mounted\t'A file system on the disk, or on an array or mapping that uses it, is mounted'
swap\t'The disk, or an array or mapping that uses it, is swap space'
md\t'The disk is part of a RAID array (md)'
dm\t'A device-mapper device is on the disk: LVM, LUKS, multipath'
claimed\t'Something else has claimed the disk for itself: it cannot be opened with O_EXCL (ZFS, btrfs, bcache, DRBD)'
open\t'A process has a node of the device in /dev open: a disk, or of a driver for graphics, RDMA, sound, UIO or anything else'
address\t'A network interface has an IP address'
route\t'The default route, or another one, goes out by a network interface'
bond\t'The network interface is part of a bond or team'
bridge\t'The network interface is part of a bridge'
vlan\t'A VLAN interface is on the network interface'
macvlan\t'A macvlan, macvtap or ipvlan interface is on the network interface'
stacked\t'Another kind of interface is on the network interface'
packet\t'A process reads the network interface directly (AF_PACKET): a DHCP client, a packet capture'
session\t'TCP connections go through a network interface: a remote login among them'
namespace\t'The network interface is in another network namespace, as that of a container'
display\t'The display shows the console or a picture'
vfs\t'The device has virtual functions, which go away with its driver'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -l no-autoprobe -d 'Keep the host\'s own drivers away from the new ones'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -l dry-run -d 'Print each write to sysfs as a shell command, and change nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand vfs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand recover" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand recover" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand recover" -l dry-run -d 'Print each write to sysfs as a shell command, and change nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand recover" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand recover" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand recover" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand recover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -l driver -d 'The VFIO driver: auto is the variant of vfio-pci that this kernel has for the device (modules.alias), else vfio-pci [default: vfio-pci, or the VFIO driver that the device is on already]' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -l owner -d 'Give the devices\' nodes in /dev/vfio to this user, by name or number, until they are given back; with :GROUP to a group too' -r -f -a "(__fish_complete_users)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -l allow -d 'Take a device that is in use for this reason all the same; a refusal names its reasons. May be given several times' -r -f -a "mounted\t'A file system on the disk, or on an array or mapping that uses it, is mounted'
swap\t'The disk, or an array or mapping that uses it, is swap space'
md\t'The disk is part of a RAID array (md)'
dm\t'A device-mapper device is on the disk: LVM, LUKS, multipath'
claimed\t'Something else has claimed the disk for itself: it cannot be opened with O_EXCL (ZFS, btrfs, bcache, DRBD)'
open\t'A process has a node of the device in /dev open: a disk, or of a driver for graphics, RDMA, sound, UIO or anything else'
address\t'A network interface has an IP address'
route\t'The default route, or another one, goes out by a network interface'
bond\t'The network interface is part of a bond or team'
bridge\t'The network interface is part of a bridge'
vlan\t'A VLAN interface is on the network interface'
macvlan\t'A macvlan, macvtap or ipvlan interface is on the network interface'
stacked\t'Another kind of interface is on the network interface'
packet\t'A process reads the network interface directly (AF_PACKET): a DHCP client, a packet capture'
session\t'TCP connections go through a network interface: a remote login among them'
namespace\t'The network interface is in another network namespace, as that of a container'
display\t'The display shows the console or a picture'
vfs\t'The device has virtual functions, which go away with its driver'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -l group -d 'Take along what else of the devices\' IOMMU groups has to move: all of it or none'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -l dry-run -d 'Print what would be done as shell commands, and do nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -l backend -d 'The kernel interface to use' -r -f -a "auto\t'iommufd where it works for the device, else type1'
type1\t'Only type1'
iommufd\t'Only iommufd'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -l report-to -d 'Tell a command that waits at this socket how the start went' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -l until-unmapped -d 'End when the last mapping is taken out'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -l detach -d 'Leave the caller\'s session'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand hold" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l size -d 'How much memory, in whole pages; of a file, all from the offset on if it is not given' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l iova -d 'Map here; without it, at a free IOVA that suits the largest page' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l page-size -d 'The pages of new memory; auto takes the largest that fit' -r -f -a "auto\t'The largest that fit and are to be had'
4K\t'Base pages'
thp\t'Transparent huge pages'
2M\t'Reserved huge pages of 2 MiB'
1G\t'Reserved huge pages of 1 GiB'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l threads -d 'How many threads put pages behind new memory and map it [default: one for each processor]' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l protection -d 'What the device may do: read, or read and write' -r -f -a "rw\t'Read and write'
r\t'Read'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l name -d 'A name, to unmap it by' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l file -d 'Map this file instead of new memory' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l offset -d 'Where in the file to begin, in whole pages' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l backend -d 'The kernel interface to use, if a holder is started' -r -f -a "auto\t'iommufd where it works for the device, else type1'
type1\t'Only type1'
iommufd\t'Only iommufd'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l private -d 'Map a copy of the file\'s bytes, not the file'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand map" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -l iova -d 'The mapping that begins here; with --size, all mappings within the range' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -l size -d 'The size of the range' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -l name -d 'The mapping with this name' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -l all -d 'All mappings'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unmap" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand maps" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand maps" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand maps" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand maps" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand maps" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand maps" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -l iova -d 'The first byte' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -l size -d 'How many bytes; without it, to the end of the mapping' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -l output -d 'Write the bytes to this file as they are; - is standard output' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dump" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -l iova -d 'The first byte' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -l size -d 'How many bytes; without it, to the end of the mapping, or all of the input' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -l data -d 'Bytes as hexadecimal digits, repeated until the size is reached' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -l input -d 'Take the bytes from this file; - is standard input' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand fill" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -l iova -d 'The first byte' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -l size -d 'How many bytes; for a write, all that are given if it is left away' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -l data -d 'The bytes to write as hexadecimal digits, repeated until the size is reached' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -l input -d 'Write the bytes of this file; - is standard input' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -l output -d 'Save what was read in this file as it is; - is standard output' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand dma" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l backend -d 'The kernel interface to use' -r -f -a "auto\t'iommufd where it works for the device, else type1'
type1\t'Only type1'
iommufd\t'Only iommufd'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l iova -d 'Place the test\'s mappings at this IOVA or above' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l seed -d 'Start the random contents from this number, as an earlier run printed it' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l level -d 'How thorough to be: quick has every proof that the device is held back; full also visits special places of the IOVA space, huge pages and many mappings; soak goes on with random loops' -r -f -a "quick\t'Every proof that the device is held back, and loops of all kinds'
full\t'Also loops in special places and through special mappings'
soak\t'Also random loops until the time is over'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l only -d 'Run only these checks, or families of them (loopback), and the check that shows that they do no harm' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l skip -d 'Leave these checks, or families of them, out' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l duration -d 'How long the random loops of --level soak go on: 30s, 10m, 2h [default: 1m]' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l junit -d 'Also write the results to this file as JUnit XML, for a continuous integration system' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l destructive -d 'Let the engine write up to 128 KiB of a drive\'s blocks, and put back what they held at the end, also after Ctrl-C. A run that is killed cannot; the blocks are named when it begins'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l in-holder -d 'Test a device that is held (iommu-tool map, iommu-tool hold) in the process that holds it'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l list -d 'List the checks and what each proves, and test nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l vfs -d 'How many virtual functions to make; max is the default, 0 checks the physical function itself as a plain device' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l level -d 'How thorough to be: quick has every proof that each device is held back; full also has all of them work at once, times mapping, makes the virtual functions anew several times, and visits special places of the IOVA space; soak goes on with random loops' -r -f -a "quick\t'Every proof that the device is held back, and loops of all kinds'
full\t'Also loops in special places and through special mappings'
soak\t'Also random loops until the time is over'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l duration -d 'How long the random loops, and the load of all devices, of --level soak go on: 30s, 10m, 2h [default: 1m]' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l limit -d 'How long one check may take: 30s, 10m' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l expect -d 'Hold the devices against this file too: their models, firmware, links, virtual functions, groups, NUMA nodes, IOMMUs and times. What the file does not say is not checked. It says how many virtual functions to make, too, unless --vfs does' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l write-expect -d 'Write such a file from these devices, if they are found fit. A file that is there is not written over' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l junit -d 'Write the results as JUnit XML too, for continuous integration' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l prometheus -d 'Write them as metrics too, for the textfile collector of Prometheus\' node exporter' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l html -d 'Write them as a page to read too' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l allow-no-dma -d 'Do without DMA where no engine drives the device: then what can be checked decides'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l list -d 'List the checks and what each proves, and change nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand validate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l suite -d 'What to measure; \'all\' for everything' -r -f -a "map\t'What a map and an unmap cost, for memory that is in RAM already'
cold\t'How long a guest\'s memory takes from nothing to mapped, and where the time goes'
churn\t'What a map and an unmap cost beside many other mappings, up to the limit'
threads\t'How mapping scales with threads in one address space'
devices\t'What more devices in one address space cost'
file\t'Mapping a memfd as such, against mapping its address (iommufd)'
dma\t'How long the device takes to read and write mapped memory, and how far its IOMMU\'s cache reaches'
open\t'What opening an address space and the device, and resetting it, cost'
all\t'Every suite'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l backend -d 'The kernel interfaces to measure; auto measures all that work here' -r -f -a "auto\t'iommufd where it works for the device, else type1'
type1\t'Only type1'
iommufd\t'Only iommufd'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l sizes -d 'The sizes to map or to transfer, instead of those of each suite' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l size -d 'The memory of a guest, as 24G: how long does it take to map, and where does the time go? Measured if it fits in memory, else extrapolated from what fits. Suite cold' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l pages -d 'The kinds of pages the memory is made of; base pages are scattered in RAM on purpose, except in the suite cold' -r -f -a "4K\t'Pages of 4 KiB'
thp\t'Transparent huge pages'
2M\t'Explicit huge pages of 2 MiB (vm.nr_hugepages)'
1G\t'Explicit huge pages of 1 GiB'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l threads -d 'How many threads map at the same time, for the suite threads [default: 1, 2, 4, ... up to the number of processors]' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l iova -d 'Map at this IOVA, to see what its alignment costs; without it, aligned for the largest page. Suites map and cold' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l samples -d 'How many samples each row gets [default: as many as there is time for]' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l duration -d 'How long to measure in all, as 30s or 10m; what is slow may take longer' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l html -d 'Also write a page with pictures of the times to this file, as HTML' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l csv -d 'Also write the figures to this file as CSV, a line for each row' -r -F
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l raw -d 'Measure a bare loop of system calls in turn with this program\'s own path, to see what the program costs. Suite map'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l all-samples -d 'With --json: every sample, not only the medians of blocks'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand compare" -l fail-above -d 'Fail if a series takes more than RATIO times as long as before, and is slower beyond the noise: 1.05 allows for 5 %' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand compare" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand compare" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand compare" -l all -d 'Show the series that did not change too'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand compare" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand compare" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand compare" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l map -d 'Map this much fresh memory at the page of IOVA first, and unmap it afterwards' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l pages -d 'The kind of pages the mapped memory is made of' -r -f -a "4K\t'Pages of 4 KiB'
thp\t'Transparent huge pages'
2M\t'Explicit huge pages of 2 MiB (vm.nr_hugepages)'
1G\t'Explicit huge pages of 1 GiB'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l backend -d 'The kernel interface to map with' -r -f -a "auto\t'iommufd where it works for the device, else type1'
type1\t'Only type1'
iommufd\t'Only iommufd'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l pid -d 'Compare with what this process has at --va' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l va -d 'A virtual address of the process, in hexadecimal' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l all -d 'Print all ranges that are mapped, with their page sizes'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l bits -d 'Explain each bit of each entry'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l scatter -d 'Map pages that do not follow each other in memory, each by itself'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l remap -d 'Then map other memory at the same IOVA, and show how the translation changes'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s d -l device -d 'Only the faults of this device' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s f -l follow -d 'Go on, and print each fault as it comes; with --json one document a line'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -l nearby -d 'Say what is mapped next to each address now by the page tables too, where the kernel shows them (VT-d\'s, in debugfs); what \'iommu-tool map\' holds is always told'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "list" -d 'Show IOMMU groups, their devices and drivers, and what keeps a group from being assigned'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "show" -d 'Show everything about one device: group, isolation, regions, interrupts, resets, SR-IOV, what the IOMMU allows'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "doctor" -d 'Check whether this host, and the devices named, are ready for VFIO, and say what to do about it'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "capture" -d 'Write what list, show and doctor read of this host to a folder, to send with a bug report'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "bind" -d 'Hand a device to VFIO, and remember the driver it had'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "unbind" -d 'Give a device back to the driver it had before bind'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "vfs" -d 'Make or remove the virtual functions of a device with SR-IOV'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "recover" -d 'Put back what interrupted commands left behind'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "run" -d 'Bind devices, run a command with them, and give them back whatever happens'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "hold" -d 'Own an address space and the devices in it, in the foreground, for a service manager'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "map" -d 'Map memory for a device, and keep it mapped'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "unmap" -d 'Take mappings out'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "maps" -d 'Show what is mapped now, and by whom'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "dump" -d 'Print the bytes of mapped memory'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "fill" -d 'Set the bytes of mapped memory'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "dma" -d 'Have the device itself read or write mapped memory'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "test" -d 'Prove by DMA that a device reaches the memory mapped for it, and nothing else'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "validate" -d 'Check whether a device, or a physical function with its virtual ones, is fit to be handed out'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "bench" -d 'Measure how long mapping and unmapping memory takes'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "compare" -d 'Show what became slower or faster from one run of bench to another'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "walk" -d 'Show how the IOMMU translates an address of a device, step by step'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "faults" -d 'Show what devices tried and an IOMMU blocked'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "completions" -d 'Print the completion script for a shell'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list show doctor capture bind unbind vfs recover run hold map unmap maps dump fill dma test validate bench compare walk faults completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
