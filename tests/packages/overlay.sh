# Source this script in a mount namespace of its own, and call `overlay BASE`: it makes a writable copy of the root
# directory BASE with /proc and the usual devices, and sets $root to it, and $work to a directory beside it.
# Both are gone when the script ends, and BASE is unchanged.

overlay() {
    local base device
    base=$(realpath "$1")
    work=$(mktemp -d)
    trap 'umount --recursive --lazy "$work"; rmdir "$work"' EXIT
    mount -t tmpfs none "$work"
    mkdir "$work"/{upper,work,root}
    root=$work/root
    mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" none "$root"
    mount -t proc none "$root/proc"
    mount -t tmpfs none "$root/dev"
    for device in null zero full random urandom tty fuse; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    # As on every running system; fusermount3 reads it.
    ln -sf ../proc/self/mounts "$root/etc/mtab"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
}
