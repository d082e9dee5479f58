#!/usr/bin/env bash
# Tests `fve recovery lookup` with a domain controller of Samba: real schema, access rights and TLS, and a
# Kerberos ticket if fve was built with the feature kerberos.
#
# Needs root, the packages samba, samba-ad-provision, samba-dsdb-modules, samba-vfs-modules, winbind,
# ldb-tools, openssl and (for the ticket) krb5-user, the free ports 389 and 636, and a file system with
# extended attributes. Not part of the test suite, because creating a domain takes half a minute.
#
#   tests/samba_ad.sh [path of fve]
set -euo pipefail
fve=$(realpath "${1:-target/debug/fve}")
place=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$place"' EXIT

secret='Login-Secret-4711'
id=5BC8FBBC-BDE5-C099-4164-D8399F767C45
octets=vPvIW+W9mcBBZNg5n3Z8RQ==
digits=471207-278498-422125-177177-561902-537405-468006-693451

# Create the certificate before Samba does.
mkdir -p "$place/dc/private/tls"
(
    cd "$place/dc/private/tls"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj '/CN=Test CA'
    openssl req -newkey rsa:2048 -nodes -keyout key.pem -out server.csr -subj '/CN=dc'
    printf 'subjectAltName=DNS:dc.fve.test,DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >extensions
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile extensions -out cert.pem
    chmod 600 key.pem ca.key
) 2>/dev/null
cp -r "$place/dc/private/tls" "$place/tls"

samba-tool domain provision --realm=FVE.TEST --domain=FVE --server-role=dc --dns-backend=NONE \
    --host-name=dc --host-ip=127.0.0.1 --adminpass="$secret" --targetdir="$place/dc" \
    --option='interfaces = lo' --option='bind interfaces only = yes' >"$place/provision.log" 2>&1
mkdir -p "$place/dc/private/tls"
cp "$place"/tls/*.pem "$place/dc/private/tls/"
chmod 600 "$place/dc/private/tls/key.pem"

cat >"$place/objects.ldif" <<LDIF
dn: CN=PC01,CN=Computers,DC=fve,DC=test
objectClass: computer
sAMAccountName: PC01\$

dn: CN=2023-10-10T10:00:00\\+02:00{$id},CN=PC01,CN=Computers,DC=fve,DC=test
objectClass: msFVE-RecoveryInformation
msFVE-RecoveryPassword: $digits
msFVE-RecoveryGuid:: $octets
msFVE-VolumeGuid:: $octets
LDIF
ldbadd -H "$place/dc/private/sam.ldb" "$place/objects.ldif" >/dev/null
samba-tool user create other "$secret" -H "$place/dc/private/sam.ldb" >/dev/null

samba -s "$place/dc/etc/smb.conf" -i -M single >"$place/samba.log" 2>&1 &
server=$!
for _ in $(seq 120); do
    (exec 3<>/dev/tcp/127.0.0.1/636) 2>/dev/null && break
    sleep 0.5
done

printf %s "$secret" >"$place/password"
failed=0
check() { # name, expected status, text expected in the output, arguments
    local name=$1 status=$2 text=$3 answer got=0
    shift 3
    answer=$("$fve" recovery lookup "$@" 2>&1 </dev/null) || got=$?
    if [ "$got" = "$status" ] && [[ $answer == *"$text"* ]]; then
        echo "ok: $name"
    else
        echo "FAILED: $name: status $got: $answer"
        failed=1
    fi
}
admin=(--lookup-user Administrator@FVE.TEST --lookup-password-file "$place/password" --lookup-ca-file "$place/tls/ca.pem")
other=(--lookup-user other@FVE.TEST "${admin[@]:2}")
for url in ldaps://127.0.0.1 ldap://127.0.0.1; do
    check "$url, whole identifier" 0 "$digits" "$url" --id $id --show "${admin[@]}"
    check "$url, eight digits" 0 "$id" "$url" --id 5bc8fbbc "${admin[@]}"
    check "$url, computer" 0 "$id" "$url" --computer pc01 "${admin[@]}"
    check "$url, unknown identifier" 1 'cannot be found' "$url" --id 00000000 "${admin[@]}"
    check "$url, without access" 1 'cannot be found' "$url" --id $id "${other[@]}"
done
if command -v kinit >/dev/null && ! "$fve" recovery lookup ldap://dc.fve.test --id $id --lookup-kerberos 2>&1 | grep -q 'without Kerberos'; then
    export KRB5_CONFIG="$place/krb5.conf" KRB5CCNAME="FILE:$place/ticket"
    cat >"$KRB5_CONFIG" <<CONF
[libdefaults]
    default_realm = FVE.TEST
    dns_lookup_kdc = false
    rdns = false
[realms]
    FVE.TEST = {
        kdc = 127.0.0.1
    }
[domain_realm]
    .fve.test = FVE.TEST
CONF
    (cat "$place/password" && echo) | kinit Administrator@FVE.TEST >/dev/null
    if ! getent hosts dc.fve.test >/dev/null; then
        echo 'note: Kerberos needs dc.fve.test as a name of 127.0.0.1 in /etc/hosts'
    else
        check 'Kerberos, signed and sealed' 0 "$digits" ldap://dc.fve.test --id $id --show --lookup-kerberos
    fi
else
    echo 'skipped: Kerberos (kinit or the feature is missing)'
fi
exit $failed
