# A disk that is used in some way is not taken away, unless just that is allowed.
disk_of() { # BDF; a disk whose old self is still mounted gets another name
    until ls -d "/sys/bus/pci/devices/$1/nvme/"*/nvme*n[0-9] >/dev/null 2>&1; do sleep 0.1; done
    basename "/sys/bus/pci/devices/$1/nvme/"*/nvme*n[0-9]
}
bdf_of() { # DISK
    basename "$(readlink -f "/sys/block/$1/device/device")"
}
mapped=$(bdf_of "$(ls /sys/block/dm-0/slaves)")
for free in 0000:01:00.0 0000:02:00.0; do [ "$free" = "$mapped" ] || break; done
mkdir -p /mnt

disk=$(disk_of $free)
mke2fs "/dev/$disk" >/dev/null
mount -t ext4 "/dev/$disk" /mnt
echo kept >/mnt/file
sync
iommu-tool list $free
iommu-tool list $free | grep -q "in use: $disk is mounted at /mnt (mounted)"
iommu-tool show $free | grep -q "In use  *$disk is mounted at /mnt (mounted)"
iommu-tool doctor --no-open $free | grep -q "WARN  device.in-use .*$disk is mounted"
case_of 'a mounted file system' $free mounted "$disk is mounted at /mnt" 'umount /mnt' '--allow mounted'
umount /mnt
disk=$(disk_of $free)
mount -t ext4 "/dev/$disk" /mnt
[ "$(cat /mnt/file)" = kept ]
umount /mnt

mkswap "/dev/$disk" >/dev/null
swapon "/dev/$disk"
case_of 'swap space' $free swap "$disk is swap space" "swapoff /dev/$disk"

disk=$(disk_of $free)
printf 'n\np\n1\n\n\nw\n' | fdisk "/dev/$disk" >/dev/null 2>&1
until [ -e "/dev/${disk}p1" ]; do sleep 0.1; done
mke2fs "/dev/${disk}p1" >/dev/null
mkdir -p '/mnt/two words'
mount -t ext4 "/dev/${disk}p1" '/mnt/two words'
refused $free mounted '' "${disk}p1 is mounted at /mnt/two words"
umount '/mnt/two words'
echo 'PASS: a partition'

# This one cannot be explained by what this mount namespace shows.
unshare -m sh -c "mount -t ext4 /dev/${disk}p1 /mnt && touch /run/mounted && exec sleep 600" &
elsewhere=$!
until [ -e /run/mounted ]; do sleep 0.1; done
refused $free claimed '' "${disk}p1 cannot be opened with O_EXCL" 'mount namespace'
kill $elsewhere
wait $elsewhere || true
echo 'PASS: a mount in another namespace'

dd if=/dev/zero of="/dev/$disk" bs=512 count=1 2>/dev/null
blockdev --rereadpt "/dev/$disk"
sleep 600 <"/dev/$disk" &
opener=$!
case_of 'a disk that a process has open' $free open "sleep (process $opener, user root) has /dev/$disk open"
kill $opener

disk=$(disk_of $free)
echo md_t0 >/sys/module/md_mod/parameters/new_array
cd /sys/block/md_t0/md
echo none >metadata_version
echo raid1 >level
echo 1 >raid_disks
cat "/sys/block/$disk/dev" >new_dev
echo 0 >"dev-$disk/slot"
echo 32768 >component_size
echo active >array_state
cd /
refused $free md '' "$disk is part of the array md_t0 (raid1)"
mke2fs /dev/md_t0 >/dev/null
mount -t ext4 /dev/md_t0 /mnt
refused $free 'md mounted' '' "md_t0 on $disk is mounted at /mnt"
umount /mnt
case_of 'a RAID array' $free md "$disk is part of the array md_t0 (raid1)"

disk=$(ls /sys/block/dm-0/slaves)
mke2fs /dev/dm-0 >/dev/null
mount -t ext4 /dev/dm-0 /mnt
refused "$mapped" 'dm mounted' '' "dm-0 on $disk is mounted at /mnt"
umount /mnt
case_of 'a device-mapper device' "$mapped" dm "$disk is under the device-mapper device lv0 (dm-0)" 'dmsetup remove lv0'

iommu-tool bind $free
iommu-tool unbind $free
echo 'PASS: a disk that nothing uses is taken without a word'
