# What the scripts beside this one share.
set -eu
failed() {
    echo "FAIL: $*"
    cat /tmp/said /tmp/json 2>/dev/null
    exit 1
}
driver() { # BDF
    basename "$(readlink "/sys/bus/pci/devices/$1/driver")"
}
# The device is refused for exactly these reasons, in this order, and what is said has these words.
refused() { # BDF REASONS ALLOWED WORD...
    device=$1 reasons=$2 allowed=$3 before=$(driver "$1") status=0
    shift 3
    iommu-tool --json bind "$device" ${allowed:+--allow "$allowed"} >/tmp/json 2>/tmp/said || status=$?
    [ $status -eq 3 ] || failed "bind exits with $status, not 3"
    found=$(sed -n 's/^ *"name": "\(.*\)",$/\1/p' /tmp/json | sort -u | tr '\n' ' ')
    [ "$found" = "$reasons " ] || failed "refused for '$found', not '$reasons'"
    for word; do grep -q -e "$word" /tmp/said || failed "nothing is said of '$word'"; done
    [ "$(driver "$device")" = "$before" ] || failed "the driver changed"
}
# Each of the reasons alone keeps the device from being taken; all of them allowed, it is taken, and given back.
case_of() { # TITLE BDF REASONS WORD...
    title=$1 bdf=$2 all=$3 native=$(driver "$2")
    shift 3
    refused "$bdf" "$all" '' "$@"
    grep -v '^{' /tmp/said
    for one in $all; do
        others=$(echo " $all " | sed "s/ $one / /" | xargs | tr ' ' ,)
        [ -z "$others" ] || refused "$bdf" "$one" "$others"
    done
    iommu-tool bind "$bdf" --allow "$(echo "$all" | tr ' ' ,)" >/tmp/json 2>/tmp/said || failed "allowed, and yet refused"
    [ "$(driver "$bdf")" = vfio-pci ] || failed "it is not on vfio-pci"
    iommu-tool unbind "$bdf" >/tmp/json 2>/tmp/said || failed "it does not come back"
    [ "$(driver "$bdf")" = "$native" ] || failed "it is not on $native again"
    echo "PASS: $title"
}
