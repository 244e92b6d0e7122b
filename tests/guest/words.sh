# Words of the scripts. /tmp/said has what the last command said, $log names another file to print after a failure, $killer is the program that
# kills another at a chosen step.
log=
fail() {
    echo "FAIL: $*"
    cat /tmp/said $log
    exit 1
}

# Runs a command that must end with $1.
ends() {
    status=$1
    shift
    "$@" >/tmp/said 2>&1
    ended=$?
    [ $ended = "$status" ] || fail "$* ended with $ended, not $status"
}

# The last command must have said $1.
also() { grep -q -- "$1" /tmp/said || fail "it did not say '$1'"; }

# Runs a command that must end with $1 and say $2.
says() {
    status=$1 words=$2
    shift 2
    ends $status "$@"
    also "$words"
}
