disk /dev/sda
keys
device /dev/sdb1 "$TOP/testdata/ntfs-xts-128.img"
cat >"$ROOT/root/export.csv" <<CSV
DN,objectClass,msFVE-RecoveryPassword
"CN=2023-10-10T10:00:00-08:00{32ED13C2-EDA7-4843-AAA0-A07EB7502969},CN=PC01,DC=example,DC=com",msFVE-RecoveryInformation,553740-620708-336094-134959-040689-542685-591085-591305
CSV
software_tpm
network_unlock_server
