# Shared by what runs in the guest.
ok() { echo "PASS $*"; }
bad() { echo "FAIL $*"; }
# The command must succeed.
check() {
    local what=$1 rc=0
    shift
    "$@" >/run/check.out 2>&1 || rc=$?
    if [ $rc = 0 ]; then ok "$what"; else bad "$what (status $rc): $(tail -4 /run/check.out | tr '\n' '|')"; fi
}
same() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1: '$2' is not '$3'"; fi; }
sha() { sha256sum <"$1" | cut -d' ' -f1; }
# Waits, at most $1 seconds, until the command succeeds.
wait_for() {
    local left=$1
    shift
    while ! "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 1
    done
}
state() { systemctl show -p Id,ActiveState,SubState,Result "$@" | paste -sd' '; }
