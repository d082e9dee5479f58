disk /dev/sda
keys
