# The functions of the preparations. They run outside of ROOT, in its namespaces:
#   ROOT  the root directory in which the blocks run
#   WORK  a directory for backing files, which is removed at the end
#   BASE  the disks of base.sh, which are not changed

# in_root COMMAND...: runs a command in ROOT.
in_root() {
    chroot "$ROOT" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
}

# answer PROMPT TEXT: types the text whenever the last line on the terminal contains this part of a prompt.
answer() {
    printf '%s\t%s\n' "$1" "$2" >>"$WORK/answers"
}

# device NAME IMAGE [START SIZE]: makes a block device of a copy of the image, or of a part of an image
# that is already a device, in sectors.
device() {
    local loop
    if [ $# -eq 2 ]; then
        cp --sparse=always "$2" "$WORK/${1##*/}.img"
        loop=$(losetup --find --show "$WORK/${1##*/}.img")
    else
        loop=$(losetup --find --show --offset $(($3 * 512)) --sizelimit $(($4 * 512)) "$2")
    fi
    echo "$loop" >>"$WORK/loops"
    mknod "$ROOT$1" b 7 "${loop#/dev/loop}"
}

# blank NAME SIZE: makes a block device full of zeros.
blank() {
    truncate -s "$2" "$WORK/blank"
    device "$1" "$WORK/blank"
    rm "$WORK/blank"
}

# disk NAME: the disk with the Windows volume in partition 3, and the devices of its partitions.
disk() {
    device "$1" "$BASE/disk.img"
    device "${1}3" "$WORK/${1##*/}.img" 6144 131072
}

# keys: the files with credentials, in the home directory.
keys() {
    cp "$BASE/key.txt" "$BASE/password.txt" "$ROOT/root/"
}

# variable NAME VALUE: sets an environment variable for the blocks.
variable() {
    printf '%s\t%s\n' "$1" "$2" >>"$WORK/variables"
}

# software_tpm: starts a TPM with a storage root key as Windows makes it, which fve then uses.
software_tpm() {
    mkdir "$WORK/tpm"
    swtpm socket --tpm2 --tpmstate "dir=$WORK/tpm" --daemon --flags not-need-init,startup-clear \
        --server type=tcp,port=2321,bindaddr=127.0.0.1 --ctrl type=tcp,port=2322,bindaddr=127.0.0.1
    variable TPM2TOOLS_TCTI swtpm:host=127.0.0.1,port=2321
    export TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=2321
    (
        cd "$WORK/tpm"
        { printf '\0\1'; head -c 256 /dev/zero; } >unique
        tpm2_createprimary -C o -G rsa2048:aes128cfb -g sha256 -u unique -c srk.ctx \
            -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt'
        tpm2_evictcontrol -C o -c srk.ctx 0x81000001
        tpm2_flushcontext -t
    )
}

# network_unlock_server: connects a second network namespace, in which a server runs as soon as the
# blocks have made its certificate.
network_unlock_server() {
    local other
    unshare --net sleep infinity >/dev/null 2>&1 &
    other=$!
    while [ "$(readlink "/proc/$other/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    ip link add eth0 type veth peer name eth1 netns "$other"
    ip address add 192.0.2.2/24 dev eth0
    ip link set eth0 up
    nsenter --target "$other" --net ip address add 192.0.2.1/24 dev eth1
    nsenter --target "$other" --net ip link set eth1 up
    (
        until [ -s "$ROOT/etc/fve/network-unlock.cer" ]; do sleep 0.1; done
        exec nsenter --target "$other" --net chroot "$ROOT" /usr/bin/fve network-unlock serve \
            --certificate /etc/fve/network-unlock.pem
    ) >"$WORK/network-unlock.log" 2>&1 &
}
