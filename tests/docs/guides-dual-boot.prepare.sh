disk /dev/sda
keys
ln -s /dev/sda3 "$ROOT/dev/disk/by-partuuid/5e2c1a70-8d4b-4f63-9a17-c0d3e84b2f96"
answer 'password of volume' "$(cat "$BASE/password.txt")"
