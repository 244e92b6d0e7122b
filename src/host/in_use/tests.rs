use super::*;
use crate::host::root::host_of_files;
use std::fs;
use std::os::unix::fs::symlink;

const DEVICE: &str = "sys/bus/pci/devices/0000:01:00.0";
/// Of a disk.
const NVME: (&str, &str) = (
    "sys/bus/pci/devices/0000:01:00.0/modalias",
    "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\n",
);
/// Of a network card.
const NIC: (&str, &str) = (
    "sys/bus/pci/devices/0000:01:00.0/modalias",
    "pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00i00\n",
);
/// Of a graphics card.
pub(super) const GPU: (&str, &str) = (
    "sys/bus/pci/devices/0000:01:00.0/modalias",
    "pci:v00001002d0000731Fsv00001002sd00000B36bc03sc00i00\n",
);

/// What uses the device at 01:00.0 of a host with these files and links.
pub(super) fn found(files: &[(&str, &str)], links: &[(&str, &str)]) -> Vec<Use> {
    let (folder, host) = host_of_files(files);
    for (path, target) in links {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
    let device = host.device("01:00.0".parse().unwrap()).unwrap();
    host.uses(&device)
}

/// The reasons and evidence, as `mounted: nvme0n1 is mounted at /`.
pub(super) fn said(uses: &[Use]) -> Vec<String> {
    uses.iter()
        .map(|one| format!("{}: {}", one.reason, one.evidence))
        .collect()
}

/// An NVMe disk with one partition, and more.
fn disk(more: &[(&str, &str)]) -> Vec<String> {
    let block = "../../devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1";
    let mut files = vec![
        NVME,
        ("sys/class/block/nvme0n1/dev", "259:0\n"),
        ("sys/class/block/nvme0n1/nvme0n1p1/partition", "1\n"),
        ("sys/class/block/nvme0n1p1/dev", "259:1\n"),
    ];
    files.extend(more);
    // The class folder holds links; here only the disk's tells where it belongs.
    let (folder, host) = host_of_files(&files);
    let class = folder.path().join("sys/class/block");
    let real = folder
        .path()
        .join("sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0");
    fs::create_dir_all(&real).unwrap();
    fs::rename(class.join("nvme0n1"), real.join("nvme0n1")).unwrap();
    symlink(block, class.join("nvme0n1")).unwrap();
    let device = host.device("01:00.0".parse().unwrap()).unwrap();
    let uses = host.uses(&device);
    assert!(uses.iter().all(|one| !one.remedy.is_empty()));
    said(&uses)
}

#[test]
fn a_free_disk_is_not_in_use() {
    assert_eq!(disk(&[]), [""; 0]);
    let others = "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n31 1 0:22 / /proc rw - proc proc rw\n";
    assert_eq!(disk(&[("proc/self/mountinfo", others)]), [""; 0]);
}

#[test]
fn mounts_are_told_by_number_and_by_name() {
    let by_number = "36 1 259:1 / /mnt/two\\040words rw shared:1 - ext4 /dev/root rw\n";
    assert_eq!(
        disk(&[("proc/self/mountinfo", by_number)]),
        ["mounted: nvme0n1p1 is mounted at /mnt/two words"]
    );
    // btrfs has a number of its own.
    let by_name = "36 1 0:33 /root / rw - btrfs /dev/nvme0n1p1 rw\n37 1 0:33 /home /home rw - btrfs /dev/nvme0n1p1 rw\n";
    assert_eq!(
        disk(&[("proc/self/mountinfo", by_name)]),
        ["mounted: nvme0n1p1 is mounted at /, /home"]
    );
    let many: String = (0..9)
        .map(|number| format!("3{number} 1 259:0 / /m{number} rw - xfs /dev/nvme0n1 rw\n"))
        .collect();
    assert_eq!(
        disk(&[("proc/self/mountinfo", &many)]),
        ["mounted: nvme0n1 is mounted at /m0, /m1, /m2 and 6 more"]
    );
}

#[test]
fn swap_raid_and_mappings_are_found_through_each_other() {
    let swap = "Filename\tType\tSize\tUsed\tPriority\n/dev/nvme0n1p1 partition 1 0 -2\n/swapfile file 1 0 -3\n";
    assert_eq!(
        disk(&[("proc/swaps", swap)]),
        ["swap: nvme0n1p1 is swap space"]
    );
    let swap = "/dev/mapper/vg-swap partition 1 0 -2\n";
    let mounts = "36 1 253:1 / / rw - ext4 /dev/mapper/vg-root rw\n";
    let stack = disk(&[
        ("sys/class/block/nvme0n1p1/holders/md0", ""),
        ("sys/class/block/md0/md/level", "raid1\n"),
        ("sys/class/block/md0/holders/dm-0", ""),
        ("sys/class/block/md0/holders/dm-1", ""),
        ("sys/class/block/dm-0/dm/name", "vg-swap\n"),
        ("sys/class/block/dm-1/dm/name", "vg-root\n"),
        ("sys/class/block/dm-1/dev", "253:1\n"),
        ("proc/swaps", swap),
        ("proc/self/mountinfo", mounts),
    ]);
    assert_eq!(
        stack,
        [
            "md: nvme0n1p1 is part of the array md0 (raid1)",
            "dm: md0 on nvme0n1p1 is under the device-mapper device vg-swap (dm-0)",
            "swap: dm-0 on md0 on nvme0n1p1 is swap space",
            "dm: md0 on nvme0n1p1 is under the device-mapper device vg-root (dm-1)",
            "mounted: dm-1 on md0 on nvme0n1p1 is mounted at /",
        ]
    );
    let other = disk(&[("sys/class/block/nvme0n1p1/holders/bcache0", "")]);
    assert_eq!(
        other,
        ["claimed: nvme0n1p1 is under the block device bcache0"]
    );
    // Links in a circle are odd, and no reason to hang.
    let circle = disk(&[
        ("sys/class/block/nvme0n1p1/holders/md0", ""),
        ("sys/class/block/md0/holders/nvme0n1p1", ""),
    ]);
    assert_eq!(circle.len(), 2);
}

/// A network card with the interface eth0, which is up, and more.
fn interface(more: &[(&str, &str)]) -> Vec<String> {
    let mut files = vec![
        NIC,
        (
            "sys/devices/pci0000:00/0000:01:00.0/net/eth0/flags",
            "0x1003\n",
        ),
        (
            "sys/devices/pci0000:00/0000:01:00.0/net/eth0/ifindex",
            "2\n",
        ),
    ];
    files.extend(more);
    said(&found(
        &files,
        &[(
            "sys/class/net/eth0",
            "../../devices/pci0000:00/0000:01:00.0/net/eth0",
        )],
    ))
}

const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
    eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
    eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
const TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.2.0/24 2 0 2\n        \
    |-- 10.0.2.0\n           /24 link UNICAST\n        |-- 10.0.2.15\n           /32 host LOCAL\nLocal:\n     |-- 127.0.0.1\n        /32 host LOCAL\n";

#[test]
fn addresses_and_routes_of_an_interface_that_is_up_count() {
    assert_eq!(interface(&[]), [""; 0]);
    assert_eq!(
        interface(&[("proc/net/route", ROUTES), ("proc/net/fib_trie", TRIE)]),
        [
            "address: eth0 is up and has 10.0.2.15/24",
            "route: the default route by 10.0.2.1 goes out by eth0"
        ]
    );
    // Where the kernel does not say the host's addresses, the network is known all the same.
    assert_eq!(
        interface(&[("proc/net/route", ROUTES)])[0],
        "address: eth0 is up and has an address in 10.0.2.0/24"
    );
    let others = ROUTES.replace("eth0", "eth01");
    assert_eq!(interface(&[("proc/net/route", &others)]), [""; 0]);
    let no_address = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    let elsewhere = TRIE.replace("10.0.2.15", "10.0.9.15");
    assert_eq!(
        interface(&[
            ("proc/net/route", no_address),
            ("proc/net/fib_trie", &elsewhere)
        ]),
        ["route: the route to 10.0.2.0/24 goes out by eth0"]
    );
}

#[test]
fn an_interface_that_is_down_carries_nothing() {
    let uses = found(
        &[
            NIC,
            (
                "sys/devices/pci0000:00/0000:01:00.0/net/eth0/flags",
                "0x1002\n",
            ),
            ("proc/net/route", ROUTES),
        ],
        &[(
            "sys/class/net/eth0",
            "../../devices/pci0000:00/0000:01:00.0/net/eth0",
        )],
    );
    assert_eq!(uses, []);
}

#[test]
fn ipv6_counts_but_for_what_comes_by_itself() {
    let link_local = "fe800000000000005054000000000001 02 40 20 80     eth0\n";
    let zero = "0".repeat(32);
    let automatic = format!(
        "fe800000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
         ff000000000000000000000000000000 08 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
         {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
    );
    assert_eq!(
        interface(&[
            ("proc/net/if_inet6", link_local),
            ("proc/net/ipv6_route", &automatic)
        ]),
        [""; 0]
    );
    let address = "20010db8000000000000000000000005 02 40 00 80     eth0\n";
    let routes = format!(
        "20010db8000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
         {zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0\n"
    );
    assert_eq!(
        interface(&[
            ("proc/net/if_inet6", address),
            ("proc/net/ipv6_route", &routes)
        ]),
        [
            "address: eth0 is up and has 2001:db8::5/64",
            "route: the default route by fe80::1 goes out by eth0"
        ]
    );
}

#[test]
fn interfaces_on_an_interface_are_named_with_what_they_carry() {
    let eth0 = |name: &str| format!("sys/devices/pci0000:00/0000:01:00.0/net/eth0/{name}");
    let routes = ROUTES.replace("eth0", "bond0.5");
    let chain = interface(&[
        (&eth0("upper_bond0/x"), ""),
        (
            "sys/class/net/bond0/uevent",
            "DEVTYPE=bond\nINTERFACE=bond0\n",
        ),
        ("sys/class/net/bond0/upper_bond0.5/x", ""),
        ("sys/class/net/bond0.5/uevent", "DEVTYPE=vlan\n"),
        ("sys/class/net/bond0.5/flags", "0x1003\n"),
        ("proc/net/route", &routes),
        ("proc/net/fib_trie", TRIE),
    ]);
    assert_eq!(
        chain,
        [
            "bond: eth0 is part of the bond bond0",
            "vlan: bond0 on eth0 carries the VLAN bond0.5",
            "address: bond0.5 on bond0 on eth0 is up and has 10.0.2.15/24",
            "route: the default route by 10.0.2.1 goes out by bond0.5 on bond0 on eth0",
        ]
    );
    let upper = eth0("upper_up0/x");
    for (file, text, expected) in [
        (
            "uevent",
            "DEVTYPE=bridge\n",
            "bridge: eth0 is part of the bridge up0",
        ),
        (
            "uevent",
            "DEVTYPE=team\n",
            "bond: eth0 is part of the team up0",
        ),
        (
            "uevent",
            "DEVTYPE=ipvlan\n",
            "macvlan: eth0 carries the ipvlan up0",
        ),
        (
            "uevent",
            "DEVTYPE=macsec\n",
            "stacked: eth0 carries the interface up0",
        ),
        (
            "bridge/bridge_id",
            "",
            "bridge: eth0 is part of the bridge up0",
        ),
        ("iflink", "2\n", "macvlan: eth0 carries the macvlan up0"),
        ("iflink", "3\n", "stacked: eth0 carries the interface up0"),
    ] {
        let file = format!("sys/class/net/up0/{file}");
        assert_eq!(interface(&[(&upper, ""), (&file, text)]), [expected]);
    }
}

#[test]
fn sessions_with_other_hosts_and_packet_sockets_count() {
    let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1\n   \
        1: 0F02000A:0016 09716CC6:C350 01 00000000:00000000 00:00000000 00000000     0        0 101 1\n   \
        2: 0F02000A:0016 0F02000A:C351 01 00000000:00000000 00:00000000 00000000     0        0 102 1\n   \
        3: 0100007F:0016 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 103 1\n";
    let tcp6 = "   0: 0000000000000000FFFF00000F02000A:B000 0000000000000000FFFF000008716CC6:01BB 01 \
        00000000:00000000 00:00000000 00000000 0 0 104 1\n";
    let packet = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
        0000 3 3 0003 2 1 0 0 200\n0000 3 3 0003 0 1 0 0 201\n0000 3 3 0003 9 1 0 0 202\n";
    let files = [
        ("proc/net/route", ROUTES),
        ("proc/net/fib_trie", TRIE),
        ("proc/net/tcp", tcp),
        ("proc/net/tcp6", tcp6),
        ("proc/net/packet", packet),
        ("proc/7/comm", "sshd\n"),
    ];
    let uses = interface(&files);
    assert_eq!(
        uses[2..],
        [
            "session: TCP sessions go by eth0: a remote login, 198.108.113.9 to 10.0.2.15 port 22, 10.0.2.15 to 198.108.113.8 port 443",
            "packet: a process reads eth0 by a packet socket (AF_PACKET)",
        ]
    );
}

#[test]
fn a_session_of_link_local_addresses_goes_by_the_interface_that_has_the_local_one() {
    let zero = "0".repeat(32);
    let own = |number, interface| {
        format!("fe80000000000000000000000000000{number} 02 40 20 80 {interface}\n")
    };
    let default_by = |interface| {
        format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000005 00000400 00000001 00000000 00450003 {interface}\n"
        )
    };
    let login = |local, remote| {
        let end = |number| format!("000080FE00000000000000000{number}000000");
        let (local, remote) = (end(local), end(remote));
        format!(
            "0: {local}:0016 {remote}:C350 01 00000000:00000000 00:00000000 00000000 0 0 104 1\n"
        )
    };
    let session = |addresses: &str, routes: &str, tcp: &str| {
        interface(&[
            ("proc/net/if_inet6", addresses),
            ("proc/net/ipv6_route", routes),
            ("proc/net/tcp6", tcp),
        ])
    };
    let expected = ["session: TCP sessions go by eth0: a remote login, fe80::9 to fe80::1 port 22"];

    let first = own(1, "eth0");
    assert_eq!(session(&first, "", &login(1, 9)), expected);
    // Not where the default route leads.
    assert_eq!(session(&first, &default_by("eth1"), &login(1, 9)), expected);
    let second = own(1, "eth1");
    assert_eq!(
        session(&second, &default_by("eth0"), &login(1, 9)),
        ["route: the default route by fe80::5 goes out by eth0"]
    );
    // Which of two interfaces with the same address cannot be told, so it counts for each.
    assert_eq!(
        session(&format!("{first}{second}"), "", &login(1, 9)),
        expected
    );
    // The other end is another host, though an interface elsewhere has the same address; but no host talks to itself by a card.
    let elsewhere = format!("{first}{}", own(9, "br0"));
    assert_eq!(session(&elsewhere, "", &login(1, 9)), expected);
    let both = format!("{first}{}", own(9, "eth0"));
    assert_eq!(session(&both, "", &login(1, 9)), [""; 0]);
}

#[test]
fn an_interface_in_another_network_namespace_leaves_an_empty_folder() {
    let (folder, host) = host_of_files(&[NIC]);
    let own = folder.path().join(DEVICE);
    symlink("../../../bus/pci/drivers/virtio-pci", own.join("driver")).unwrap();
    let device = host.device("01:00.0".parse().unwrap()).unwrap();
    assert_eq!(host.uses(&device), []);
    fs::create_dir_all(own.join("virtio0/net")).unwrap();
    assert_eq!(host.uses(&device)[0].reason, UseReason::Namespace);
}

#[test]
fn a_display_with_the_console_or_a_picture_is_in_use() {
    let boot = ("sys/bus/pci/devices/0000:01:00.0/boot_vga", "1\n");
    let console = (
        "sys/class/vtconsole/vtcon1/name",
        "(M) frame buffer device\n",
    );
    let bound = ("sys/class/vtconsole/vtcon1/bind", "1\n");
    let name = ("sys/class/graphics/fb0/name", "EFI VGA\n");
    let own = [(
        "sys/class/graphics/fb0",
        "../../devices/pci0000:00/0000:01:00.0/graphics/fb0",
    )];
    let firmware = [(
        "sys/class/graphics/fb0",
        "../../devices/platform/efi-framebuffer.0/graphics/fb0",
    )];
    let reasons = |files: &[(&str, &str)], links: &[(&str, &str)]| said(&found(files, links));

    assert_eq!(reasons(&[GPU, boot, name], &[]), [""; 0]);
    assert_eq!(
        reasons(&[GPU, boot, console, bound], &firmware),
        ["display: it is the boot display: the console is on it (fb0)"]
    );
    assert_eq!(
        reasons(&[GPU, console, bound], &own),
        ["display: it is a display: the console is on it (fb0)"]
    );
    assert_eq!(reasons(&[GPU, console, bound], &firmware), [""; 0]);
    assert_eq!(reasons(&[NIC, boot, console, bound], &firmware), [""; 0]);
    let freed = ("sys/class/vtconsole/vtcon1/bind", "0\n");
    assert_eq!(reasons(&[GPU, boot, console, freed], &own), [""; 0]);
    let text = ("sys/class/vtconsole/vtcon1/name", "(S) VGA+\n");
    assert_eq!(
        reasons(&[GPU, boot, text, bound], &[]),
        ["display: it is the boot display: the console is on it (VGA text mode)"]
    );
    let connector = |state| {
        let path = "sys/bus/pci/devices/0000:01:00.0/drm/card0/card0-HDMI-A-1/enabled";
        reasons(&[GPU, (path, state)], &[])
    };
    assert_eq!(
        connector("enabled\n"),
        ["display: the monitor at card0-HDMI-A-1 shows a picture"]
    );
    assert_eq!(connector("disabled\n"), [""; 0]);
}

#[test]
fn virtual_functions_and_what_uses_them_count_for_the_physical_one() {
    let vf = "sys/bus/pci/devices/0000:01:10.0";
    let modalias = format!("{vf}/modalias");
    let files = [NIC, (&modalias, NIC.1), ("proc/42/comm", "qemu\n")];
    let driver = format!("{vf}/driver");
    let group = format!("{vf}/iommu_group");
    let first = format!("{DEVICE}/virtfn0");
    let links = [
        (first.as_str(), "../0000:01:10.0"),
        (&driver, "../../drivers/vfio-pci"),
        (&group, "../../../../kernel/iommu_groups/12"),
        ("proc/42/fd/9", "/dev/vfio/12"),
    ];
    let uses = found(&files, &links);
    assert_eq!(
        said(&uses),
        [
            "vfs: its virtual function 0000:01:10.0 goes away with its driver",
            "held: virtual function 0000:01:10.0: qemu (process 42) has /dev/vfio/12 open",
        ]
    );
    assert!(!uses[1].reason.may_be_allowed());
}

#[test]
fn odd_files_break_nothing() {
    let files = [
        "proc/net/route",
        "proc/net/fib_trie",
        "proc/net/ipv6_route",
        "proc/net/if_inet6",
        "proc/net/tcp",
        "proc/net/tcp6",
        "proc/net/packet",
        "proc/self/mountinfo",
        "proc/swaps",
    ];
    let line = "eth0\tFFFFFFFF\tzz\t\u{e9}\u{e9}\u{e9}\u{e9} - - 1 2 3 4 5 6 7 8 9 |-- /32 host LOCAL : 0:0:0\n";
    let huge = line.repeat(100_000);
    let short = "\n \n:\n|-- \n - \n/32 host LOCAL\n";
    for content in ["", short, &huge] {
        let all: Vec<(&str, &str)> = files.iter().map(|file| (*file, content)).collect();
        assert_eq!(interface(&all), [""; 0]);
        assert_eq!(disk(&all), [""; 0]);
    }
    let (folder, host) = host_of_files(&[NIC]);
    fs::create_dir_all(folder.path().join("proc/net")).unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, [0xff, 0xfe, b'\n', 0, 0xff, b':', 0xff]).unwrap();
    }
    let device = host.device("01:00.0".parse().unwrap()).unwrap();
    assert_eq!(host.uses(&device), []);
}
