# Runs in the guest, in each of three boots.
. /lab/lib.sh
stage=$(cat /lab/stage)
disk=/dev/disk/by-id/virtio-data1
id() { blkid -o value -s PARTUUID "$disk-part$1"; }
part() { echo "/dev/disk/by-partuuid/$(id "$1")"; }
keys=/etc/fve/keys
missing=11111111-2222-3333-4444-555555555555

install_it() {
    if [ -e /lab/packages/tree.tar ]; then
        tar -C / --keep-directory-symlink -xf /lab/packages/tree.tar && systemd-sysusers &&
            install -d -m 750 -g fve-network-unlock /etc/fve/network-unlock &&
            udevadm control --reload && udevadm trigger --subsystem-match=tpmrm && systemctl daemon-reload
    else
        # What the kit put there is not to hide what a package lacks.
        rm -f /usr/bin/fve /sbin/mount.fve
        dpkg -i /lab/packages/*.deb
    fi
}

network() {
    ip link set lo up
    ip netns add client
    ip link add eth0 type veth peer name eth0 netns client
    ip addr add 192.0.2.1/24 dev eth0 && ip link set eth0 up
    ip -n client addr add 192.0.2.9/24 dev eth0 && ip -n client link set eth0 up && ip -n client link set lo up
    sleep 3
}
probe() { ip netns exec client fve network-unlock probe --certificate /root/client.cer --timeout 20; }

network_unlock() {
    network
    check "a certificate is made" fve network-unlock certificate --to /etc/fve
    cp /etc/fve/network-unlock.cer /root/client.cer
    cp /usr/share/doc/fve-network-unlock/examples/bde-network-unlock.ini /etc/fve/network-unlock/ 2>/dev/null ||
        printf '[SUBNETS]\nHQ=192.0.2.0/24\n' >/etc/fve/network-unlock/bde-network-unlock.ini
    echo 'OPTIONS=--policy /etc/fve/network-unlock/bde-network-unlock.ini' >/etc/default/fve-network-unlock
    check "fve-network-unlock.socket is enabled and started" systemctl enable --now fve-network-unlock.socket
    same "the service waits for the first request" "$(systemctl is-active fve-network-unlock.service)" inactive
    # The first request starts the service, which may take longer than the client waits in an emulated machine.
    probe >/run/probe.out 2>&1 || probe >/run/probe.out 2>&1
    same "probe from another network namespace, by socket" $? 0
    sed 's/^/SEE probe: /' /run/probe.out
    same "the service was started by its socket" "$(systemctl is-active fve-network-unlock.service)" active
    local pid
    pid=$(systemctl show -p MainPID --value fve-network-unlock.service)
    same "by socket the service has no capability" "$(awk '/^Cap(Eff|Bnd|Prm)/ { print $2 }' "/proc/$pid/status" | sort -u)" 0000000000000000
    same "its user" "$(stat -c %U "/proc/$pid")" fve-network-unlock
    same "what it sees of /etc/fve" "$(ls "/proc/$pid/root/etc/fve" | paste -sd' ')" network-unlock
    check "reload" systemctl reload fve-network-unlock.service
    echo broken >>/etc/fve/network-unlock/bde-network-unlock.ini
    systemctl reload fve-network-unlock.service
    sleep 3
    systemctl show -p StatusText --value fve-network-unlock.service | sed 's/^/SEE status with a broken policy: /'
    if probe >/dev/null 2>&1; then bad "a broken policy is served"; else ok "with a broken policy, no request is answered"; fi
    sed -i '/^broken/d' /etc/fve/network-unlock/bde-network-unlock.ini
    check "disable the socket" systemctl disable --now fve-network-unlock.socket fve-network-unlock.service
    check "the service without the socket" systemctl start fve-network-unlock.service
    check "probe, without the socket" probe
    systemctl stop fve-network-unlock.service
    journalctl -b --no-pager -o cat -u fve-network-unlock.service | tail -20
}

security() {
    local unit
    systemctl daemon-reload
    for unit in fve@data.service fve-network-unlock.service fve-network-unlock.socket; do
        systemd-analyze verify --man=no "$unit" >/run/verify 2>&1
        same "systemd-analyze verify $unit" "$? $(cat /run/verify)" "0 "
    done
    for unit in fve@data.service fve-network-unlock.service; do
        systemd-analyze security --no-pager "$unit" | grep Overall | sed 's/^/SEE security: /'
    done
    check "security of fve-network-unlock at most 2.0" systemd-analyze security --no-pager --threshold=20 fve-network-unlock.service
    check "security of fve@ at most 2.0" systemd-analyze security --no-pager --threshold=20 fve@data.service
}

# The recipe of docs/tpm.md, "At boot", as printed but for the device and the name.
recipe() { # NAME PARTITION
    sed -e "s|^SOURCE=.*|SOURCE=$(part "$2")|" -e "s|/mnt/data|/mnt/$1|" /lab/recipe/1 >"/etc/fve/$1.conf"
    cat "/etc/fve/$1.conf"
}

case $stage in
1)
    check "installs" install_it
    cat /run/check.out
    same "mount.fve is the program" "$(readlink -f /sbin/mount.fve)" /usr/bin/fve
    same "/etc/fve" "$(stat -c '%a %U:%G' /etc/fve)" "700 root:root"
    same "/etc/fve/network-unlock" "$(stat -c '%a %U:%G' /etc/fve/network-unlock)" "750 root:fve-network-unlock"
    same "nothing is enabled" "$(systemctl list-unit-files --state=enabled --no-legend '*fve*' | wc -l)" 0
    same "nothing runs" "$(pgrep -xc fve)" 0
    mkdir -p $keys /mnt/files /mnt/auto /mnt/missing /mnt/inner && cp /lab/keys/* $keys && chmod 600 $keys/*

    echo "== a TPM protector, and one with a PIN"
    grep -c tpmrm /usr/lib/udev/rules.d/*systemd*.rules | sed 's/^/SEE rules for the TPM: /'
    check "the TPM has a unit" wait_for 20 systemctl is-active dev-tpmrm0.device
    printf 12345678 >/root/pin && chmod 600 /root/pin
    check "TPM protector" fve protector add "$(part 3)" --startup-key $keys --tpm --pcrs 7,11 --tpm-create-srk
    check "TPM+PIN protector" fve protector add "$(part 4)" --startup-key $keys --tpm --pcrs 7,11 --new-pin-file /root/pin

    echo "== docs/tpm.md, At boot"
    recipe data 3
    sed -i 's/$/ --read-write/;/OPTIONS/!s/ --read-write//' /etc/fve/data.conf
    check "as printed: systemctl enable --now fve@data" bash -e /lab/recipe/2
    state fve@data.service
    systemctl cat fve@data.service | tail -12
    check "it is mounted by the kernel's driver" findmnt -t ntfs3 /mnt/data
    ! findmnt /mnt/data >/dev/null || echo hello >/mnt/data/hello
    same "files of the TPM's volume, read and written" "$(cat /mnt/data/hello)" hello
    findmnt -rn -o TARGET,FSTYPE,SOURCE,OPTIONS | grep -E '/mnt/|/run/fve'
    pid=$(systemctl show -p MainPID --value fve@data.service)
    grep -E '^(Cap|NoNew|Seccomp:)' "/proc/$pid/status"
    same "the server has no capability" "$(awk '/^Cap(Eff|Prm|Inh|Amb)/ { print $2 }' "/proc/$pid/status" | sort -u)" 0000000000000000
    same "the server has namespaces of its own" "$(for n in mnt net; do [ "$(readlink "/proc/$pid/ns/$n")" != "$(readlink /proc/1/ns/$n)" ] && echo $n; done | paste -sd' ')" "mnt net"
    check "stop while in use ends when it is free" bash -c '(cd /mnt/data && exec sleep 6) & sleep 1; systemctl stop fve@data'
    same "nothing is left after stop" "$(findmnt -rn | grep -cE '/mnt/data|/run/fve/mounts')$(losetup -l -n | wc -l)$(pgrep -xc fve)" 000
    state fve@data.service
    same "stop is no failure" "$(systemctl is-failed fve@data.service)" inactive
    check "start again" systemctl start fve@data.service
    recipe pin 4
    sed -i 's/--tpm //' /etc/fve/pin.conf # the credential implies it
    sed 's/fve@data/fve@pin/' /lab/recipe/3 >/run/recipe3
    check "as printed: the PIN is encrypted" bash -e /run/recipe3 </root/pin
    check "fve@pin with LoadCredentialEncrypted" systemctl enable --now fve@pin
    state fve@pin.service
    journalctl -b --no-pager -o cat -u fve@data -u fve@pin | tail -20
    check "files of the volume with the PIN" findmnt -t fuse.fve /mnt/pin
    rm -f /root/pin

    echo "== an image that is written"
    cp "$(part 2)" /srv/image.img
    printf 'SOURCE=/srv/image.img\nOPTIONS=--read-write --startup-key %s\n' $keys >/etc/fve/image.conf
    systemctl daemon-reload
    check "fve@image" systemctl start fve@image
    state fve@image.service
    ! findmnt /mnt/image >/dev/null || echo hello >/mnt/image/hello
    check "stop" systemctl stop fve@image
    check "read-only, without a driver" bash -c "sed -i 's/--read-write/--allow-other/' /etc/fve/image.conf && systemctl daemon-reload && systemctl start fve@image"
    same "what was written to the image" "$(cat /mnt/image/hello)" hello
    killed=$(systemctl show -p MainPID --value fve@image.service)
    kill -KILL "$killed"
    check "a killed server is a failed unit" wait_for 20 systemctl is-failed fve@image
    if ls /mnt/image >/dev/null 2>&1; then bad "a killed server leaves an empty directory"; else ok "a killed server leaves a mount that gives errors"; fi
    check "the next start replaces it" systemctl start fve@image
    same "the file again" "$(cat /mnt/image/hello)" hello
    check "stop again" systemctl stop fve@image
    rm /srv/image.img /etc/fve/image.conf

    echo "== a disk that is missing"
    printf 'SOURCE=/dev/disk/by-partuuid/%s\n' $missing >/etc/fve/missing.conf
    check "enable" systemctl enable fve@missing

    security
    network_unlock
    cat >>/etc/fstab <<END
PARTUUID=$(id 1)  /mnt/files  fve  read-write,nofail,startup-key=$keys  0 0
PARTUUID=$(id 2)  /mnt/auto  fve  ro,noauto,x-systemd.automount,startup-key=$keys  0 0
PARTUUID=$missing  /mnt/missing  fve  ro,nofail,startup-key=$keys  0 0
END
    ;;
2)
    echo "SEE the boot was complete after $(cut -d' ' -f1 /proc/uptime) s; jobs that still wait: $(systemctl list-jobs --no-legend | awk '{ print $2 }' | paste -sd' ')"
    if systemctl list-jobs --no-legend | grep -qE 'missing'; then ok "the boot goes on while systemd waits for the missing disk"; else bad "the boot waited for the missing disk"; fi
    if journalctl -b --no-pager | grep -iE 'ordering cycle|deleted to break'; then bad "an ordering cycle"; else ok "no ordering cycle"; fi
    for unit in fve@data.service fve@pin.service mnt-files.mount; do check "$unit is up at boot" wait_for 120 systemctl is-active $unit; done
    journalctl -b --no-pager -o short-monotonic | grep -iE 'fve|/mnt|tpmrm' | head -60
    for unit in local-fs.target multi-user.target; do check "$unit" systemctl is-active $unit; done
    findmnt -rn -o TARGET,FSTYPE,SOURCE,OPTIONS | grep -E '/mnt/|/run/fve'
    same "a file of the TPM's volume" "$(cat /mnt/data/hello)" hello
    same "nothing is mounted on the automount yet" "$(findmnt -rn -t fuse.fve /mnt/auto | wc -l)" 0
    check "x-systemd.automount: the first access mounts" timeout 120 ls /mnt/auto
    same "its type" "$(findmnt -rn -o FSTYPE /mnt/auto | tail -1)" fuse.fve
    systemctl stop mnt-auto.automount mnt-auto.mount

    echo "== --volume --read-write, loop, ntfs3"
    mkdir -p /mnt/volume
    check "mount --volume --read-write" fve mount --volume --read-write "$(part 2)" /mnt/volume --startup-key $keys
    check "ntfs3 on a loop device on it" mount -t ntfs3 -o loop /mnt/volume/volume /mnt/inner
    dd if=/dev/urandom of=/mnt/inner/loop bs=1M count=4 status=none && sha /mnt/inner/loop >/root/loop.sha
    check "unmount the files" umount /mnt/inner
    check "unmount the volume" wait_for 20 fve unmount /mnt/volume

    echo "== left mounted, with data that is not synced"
    for d in files data; do dd if=/dev/urandom of=/mnt/$d/unsynced bs=1M count=4 status=none && sha /mnt/$d/unsynced >/root/$d.sha; done
    check "a missing disk is given up without a failed unit" wait_for 150 bash -c '! systemctl list-jobs --no-legend | grep -q missing'
    state fve@missing.service mnt-missing.mount
    same "failed units" "$(systemctl --failed --no-legend | awk '{ print $2 }' | paste -sd' ')" ""
    ;;
3)
    echo "== how the shutdown went"
    grep -nE 'mnt|fve|Failed|timed out|nmount|Killing|I/O error|ntfs3|busy|umount.target' /lab/out/journal-before | tail -60
    if grep -qE 'timed out|Killing' /lab/out/journal-before; then
        # The jobs of the missing disk time out while the system starts, and are no part of the shutdown.
        if grep -E 'timed out|Killing' /lab/out/journal-before | grep -vqE "$missing|${missing//-/\\\\x2d}"; then bad "a stop timed out"; else ok "no stop timed out"; fi
    else
        ok "no stop timed out"
    fi
    if grep -E 'target is busy|Failed unmounting /mnt|Failed unmounting run-fve|Failed unmounting mnt' /lab/out/journal-before; then bad "a layer was unmounted too early"; else ok "every layer was unmounted in order"; fi
    for unit in fve@data.service mnt-files.mount; do check "$unit is up" wait_for 120 systemctl is-active $unit; done
    for d in files data; do same "data that was not synced is in /mnt/$d" "$(sha /mnt/$d/unsynced)" "$(cat /root/$d.sha)"; done
    check "everything is stopped" systemctl stop fve@data fve@pin fve@missing mnt-files.mount mnt-auto.automount
    same "nothing is left" "$(wait_for 20 bash -c '! pgrep -x fve'; findmnt -rn | grep -cE '/mnt/|/run/fve/mounts')$(pgrep -xc fve)" 00

    echo "== what dm-crypt reads"
    for n in 1 2 3; do
        name=$(echo files loop data | cut -d' ' -f$n)
        file=unsynced
        [ $n != 2 ] || file=loop
        # fve does not read a device that dm-crypt has open: this must come first.
        decrypted=$(fve decrypt "$(part $n)" - --startup-key $keys 2>/run/check.out | sha256sum)
        check "dm-crypt opens volume $n" cryptsetup bitlkOpen --volume-key-file "$keys/$n.fvek" "$(part $n)" other
        check "ntfs3 on dm-crypt" mount -t ntfs3 -o ro /dev/mapper/other /mnt/inner
        same "the file that fve wrote, by dm-crypt and ntfs3" "$(sha /mnt/inner/$file)" "$(cat "/root/$name.sha")"
        umount /mnt/inner
        check "ntfsfix finds nothing" ntfsfix -n /dev/mapper/other
        same "decrypted by fve and by dm-crypt" "$decrypted" "$(sha256sum </dev/mapper/other)"
        cryptsetup close other
    done

    echo "== removal"
    sed -i '/ fve /d' /etc/fstab && systemctl daemon-reload
    if [ -e /lab/packages/tree.tar ]; then
        echo "SKIP purge: no package was given"
    else
        names=$(for package in /lab/packages/*.deb; do dpkg-deb -f "$package" Package; done)
        check "start before the purge" systemctl start fve@data
        check "purge" dpkg --purge $names
        cat /run/check.out
        same "no process is left" "$(wait_for 20 bash -c '! pgrep -x fve'; pgrep -xc fve)" 0
        same "no mount is left" "$(findmnt -rn | grep -c 'fuse.fve')" 0
        same "no file of the packages is left" "$(find / -xdev \( -path /lab -o -path /proc -o -path /var/log -o -path /var/lib/dpkg -o -path /root -o -path /etc/credstore.encrypted \) -prune -o \( -name '*fve*' -o -name '*fve-network*' \) -print | grep -vE '^/etc/fve(/|$)|^/mnt|^/lab' | paste -sd' ')" ""
        find /etc/fve 2>/dev/null | sed 's/^/SEE left of the administrator: /'
    fi
    ;;
esac
echo "end of boot $stage"
