disk /dev/sda
keys
mkdir -p "$ROOT/mnt/data"
network_unlock_server
