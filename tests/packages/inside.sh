# The steps of try.sh that run in the root directory, in a shell of its own for each: $1 is the step.

fail() {
    echo "$*" >&2
    exit 1
}
# Runs a command, which is to end with status $1, and prints its output.
ends_with() {
    wanted=$1
    shift
    got=0
    "$@" 2>&1 || got=$?
    [ "$got" = "$wanted" ] || fail "status $got instead of $wanted: $*"
}
# Whether standard input contains $1.
says() {
    text=$(cat)
    case $text in
    *"$1"*) ;;
    *) fail "not said: $1; but: $text" ;;
    esac
}
apt() { apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root --no-install-recommends "$@" >/packages/apt.log 2>&1 || { cat /packages/apt.log; exit 1; }; }

volume=/packages/ntfs-xts-128.img
key=/packages/ntfs-xts-128.recovery.txt
case $1 in
install)
    apt update
    apt install /packages/fve_*.deb
    ;;
use)
    ! ls /usr/lib/*/libtss2-esys* 2>/dev/null || fail "libtss2 is installed"
    fve --version
    [ "$(readlink -f /sbin/mount.fve)" = /usr/bin/fve ] || fail "mount.fve is not fve"
    [ "$(stat -c %a:%U /etc/fve)" = 700:root ] || fail "/etc/fve"
    for file in man/man1/fve.1 man/man1/fve-mount.1 man/man8/mount.fve.8; do
        # Some roots leave out manual pages.
        grep -rqs 'path-exclude=/usr/share/man' /etc/dpkg || zcat "/usr/share/$file.gz" | says ' SYNOPSIS'
    done
    bash -euc '. /usr/share/bash-completion/completions/fve; complete -p fve' | says fve

    # The main job, as a user without rights.
    useradd --create-home owner
    as_owner() { setpriv --reuid owner --regid owner --init-groups env HOME=/home/owner "$@"; }
    cp "$volume" "$key" /home/owner
    chown owner /home/owner/*
    chmod 600 /home/owner/*.txt
    cd /home/owner
    as_owner mkdir windows
    as_owner fve info ntfs-xts-128.img | says 'Numerical Password'
    as_owner fve mount ntfs-xts-128.img windows --recovery-password-file ntfs-xts-128.recovery.txt
    as_owner ls windows | says hello.txt
    as_owner cat windows/hello.txt >/packages/hello
    as_owner fve cat ntfs-xts-128.img hello.txt --recovery-password-file ntfs-xts-128.recovery.txt | cmp - /packages/hello
    as_owner fve unmount windows
    [ -z "$(ls windows)" ] || fail "still mounted"
    as_owner fve decrypt ntfs-xts-128.img plain.img --recovery-password-file ntfs-xts-128.recovery.txt
    as_owner fve ls plain.img | says hello.txt
    ends_with 4 as_owner fve unlock ntfs-xts-128.img </dev/null >/packages/out
    says --recovery-password-file </packages/out
    # As root: mount -t fve, and what a TPM needs.
    mkdir /mnt/c
    mount -t fve -o "ro,recovery-password-file=$key" "$volume" /mnt/c
    cmp /mnt/c/hello.txt /packages/hello
    umount /mnt/c
    ends_with 5 fve tpm status --tpm=swtpm:host=127.0.0.1,port=9 >/packages/out
    says 'apt install libtss2-esys-3.0.2-0 libtss2-tctildr0' </packages/out
    ;;
documents)
    # What the guides suppose to be there besides fve and fuse3.
    rm -rf /home/owner /mnt/c
    ;;
tpm)
    # The command of the message above. There is no TPM at that address.
    apt install libtss2-esys-3.0.2-0 libtss2-tctildr0
    ends_with 5 fve tpm status --tpm=swtpm:host=127.0.0.1,port=9 >/packages/out
    says 'nothing answers' </packages/out
    ;;
remove)
    apt install /packages/fve-network-unlock_*.deb
    getent passwd fve-network-unlock | says nologin
    [ "$(stat -c %a:%U:%G /etc/fve/network-unlock)" = 750:root:fve-network-unlock ] || fail "/etc/fve/network-unlock"
    [ "$(find /etc/systemd/system -name '*fve*')" = '' ] || fail "a unit is enabled"
    # systemd 249 does not know encrypted credentials; docs/tpm.md says so.
    systemd-analyze verify --man=no /usr/lib/systemd/system/fve-network-unlock.service /usr/lib/systemd/system/fve@.service 2>&1 |
        grep -v "Unknown key name 'LoadCredentialEncrypted'" | { ! grep fve; } || fail "a unit is wrong"
    fve network-unlock check-policy /usr/share/doc/fve-network-unlock/examples/bde-network-unlock.ini
    fve network-unlock certificate --to /etc/fve
    apt purge fve-network-unlock
    # The names of other tools.
    apt install /packages/fve-compat_*.deb
    mkdir /mnt/d
    dislocker -r -V "$volume" -u'correct horse battery staple' -- /mnt/d
    [ "$(ls /mnt/d)" = dislocker-file ] || fail "dislocker shows $(ls /mnt/d)"
    umount /mnt/d
    mount -t fuse.dislocker -o "ro,user-password=correct horse battery staple" "$volume" /mnt/d
    umount /mnt/d
    bdemount -p 'correct horse battery staple' "$volume" /mnt/d
    [ "$(ls /mnt/d)" = bde1 ] || fail "bdemount shows $(ls /mnt/d)"
    umount /mnt/d
    rmdir /mnt/d
    apt purge fve-compat
    [ ! -e /usr/bin/dislocker ] || fail "dislocker is left"
    apt purge fve
    [ "$(ls /etc/fve)" = "$(printf 'network-unlock.cer\nnetwork-unlock.pem')" ] || fail "the administrator's keys are gone: $(ls /etc/fve)"
    rm -r /etc/fve
    left=$(find / -xdev -name '*fve*' ! -path '/packages/*' ! -path '/proc/*')
    [ -z "$left" ] || fail "left behind: $left"
    ;;
esac
