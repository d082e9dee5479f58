# Creates the disks that the pages use: windows.img, an encrypted NTFS volume of 64 MiB with the
# recovery password in key.txt and the password in password.txt, and disk.img, a GPT disk with this volume
# as partition 3.

truncate -s 64M "$WORK/ntfs.img"
mkntfs --force --fast --quiet --label Windows "$WORK/ntfs.img" 2>/dev/null
mkdir "$WORK/files"
ntfs-3g "$WORK/ntfs.img" "$WORK/files"
(
    cd "$WORK/files"
    mkdir -p Users/user/Desktop Users/user/Documents Users/user/Pictures Windows/System32
    echo 'Remember the milk.' >Users/user/Desktop/notes.txt
    echo 'Remember the milk.' >Users/user/notes.txt
    head -c 20000 /dev/urandom >Users/user/Documents/report.docx
    head -c 300000 /dev/urandom >Users/user/Pictures/beach.jpg
    head -c 100000 /dev/urandom >Windows/System32/kernel32.dll
)
umount "$WORK/files"

mv "$WORK/ntfs.img" "$ROOT/tmp/ntfs.img"
echo 'correct horse battery staple' >"$ROOT/tmp/password.txt"
chmod 600 "$ROOT/tmp/password.txt"
in_root fve create /tmp/windows.img --from /tmp/ntfs.img --description 'USER-PC C: 11/26/2026' \
    --recovery-password-to /tmp/key.txt --new-password-file /tmp/password.txt
cp --sparse=always "$ROOT/tmp/windows.img" "$ROOT/tmp/key.txt" "$ROOT/tmp/password.txt" "$BASE/"

truncate -s 70M "$BASE/disk.img"
sfdisk --quiet "$BASE/disk.img" <<'TABLE'
label: gpt
start=2048, size=2048, type=U
start=4096, size=2048, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE
start=6144, size=131072, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, uuid=5E2C1A70-8D4B-4F63-9A17-C0D3E84B2F96
TABLE
dd if="$BASE/windows.img" of="$BASE/disk.img" bs=1M seek=3 conv=notrunc,sparse status=none
