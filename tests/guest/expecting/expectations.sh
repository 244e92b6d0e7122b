# Files of what is expected, of a drive and of a network card. At the level quick, as times in a guest say nothing.
cd /tmp
drive=nvme0
drive_path=$(readlink -f /sys/class/nvme/$drive/device)
drive_address=$(basename $drive_path)
card_path=$(readlink -f /sys/class/net/eth0/device)
card=$(basename $card_path)

# The last run must have failed in these checks and in no others.
failed_only() {
    found=$(sed -n 's/^FAIL  *\([a-z.-]*\).*/\1/p' /tmp/said | sort -u | tr '\n' ' ')
    wanted=$(printf '%s\n' "$@" | sort | tr '\n' ' ')
    [ "$found" = "$wanted" ] || fail "failed: $found, not $wanted"
}

quick() { iommu-tool validate --level quick "$@"; }

# What a drive tells of itself is its driver's to know: it must be asked before the drive is bound.
says 0 '^FIT' quick $drive --write-expect drive.toml
cat drive.toml
grep -q "^firmware = \"$(cat /sys/class/nvme/$drive/firmware_rev | sed 's/ *$//')\"" drive.toml || fail "no firmware is written"
says 0 'expect.firmware' quick $drive --expect drive.toml
[ "$(grep -c '^PASS  expect\.' /tmp/said)" = 5 ] || fail "not all of the file was checked"
# A drive that another program is to have keeps quiet about its firmware: that is no difference, and no agreement.
says 0 'on vfio-pci now' iommu-tool bind $drive_address
says 4 'the host does not tell firmware' quick $drive_address --expect drive.toml
says 0 'on nvme now' iommu-tool unbind $drive_address

# Plants a difference into the drive's file, and sees it named by the check $1: $2 is what to replace, $3 what by, $4 what is said.
planted() {
    sed "s/$2/$3/" drive.toml >planted.toml
    says 1 "$4" quick $drive --expect planted.toml
    failed_only "$1"
}
planted expect.firmware '^firmware = .*' 'firmware = "9.9"' 'firmware: expected 9.9, found'
planted expect.link '^width = .*' 'width = 16' 'width: expected at least x16, found x1'
planted expect.numa '^isolated = .*' 'numa_node = 1' 'numa_node: expected 1, found none'
planted expect.iommu '^mode = .*' 'mode = "direct"' 'mode: expected direct, found lazy'
planted expect.model '^match = .*' "match = \"$drive_address\"\nid = \"144d:a808\"" 'id: expected 144d:a808, found 1b36:0010'
planted expect.model '^match = .*' 'match = "144d:a808"' '144d:a808 is expected, and this host has no such device'
[ "$(basename $(readlink $drive_path/driver))" = nvme ] || fail "the drive is not on its driver"
echo "drive: ok"

# Nothing is begun with a file that is wrong, or would be written over.
says 3 'drive.toml is there already' quick $drive --write-expect drive.toml
sed 's/^width/wide/' drive.toml >planted.toml
says 2 'planted.toml: line [0-9]*, column 1: unknown field `wide`, expected one of `speed`, `width`' quick $drive --expect planted.toml
says 2 'No such file' quick $drive --expect none.toml
[ "$(quick $drive --json --expect planted.toml 2>/dev/null | tr -d " " | grep -c "\"exit_status\":2")" = 1 ] || fail "no JSON of the error"

# The functions of a card whose interface is down do not work: no file is made of that.
says 1 'card.toml is not written' quick $card --vfs 1 --write-expect card.toml
[ ! -e card.toml ] || fail "a file was written of what is not fit"
ip link set eth0 up
says 0 '^FIT' quick $card --vfs 1 --write-expect card.toml
cat card.toml
# The file says how many functions are made.
says 0 'with 1 virtual function' quick $card --expect card.toml
sed 's/^total = 7/total = 63/' card.toml >planted.toml
# Checked as a plain device, it has none.
says 1 'wanted: expected 1, found 0' quick $card --vfs 0 --expect planted.toml
failed_only expect.functions
grep -q 'total: expected 63, found 7' /tmp/said || fail "the total is not named"
[ "$(cat $card_path/sriov_numvfs)" = 0 ] || fail "functions are left"
echo "card: ok"
