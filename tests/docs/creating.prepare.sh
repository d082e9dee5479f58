blank /dev/sdb 64M
mkdir "$ROOT/root/keys"
answer 'assword' 'correct horse battery staple'
