#!/usr/bin/env bash
# Measures the Network Unlock server under load, in new network namespaces: requests per second, latency
# and lost requests, compared with the private RSA operations of OpenSSL on the same computer.
#
#   benches/network_load.sh [COUNT [WINDOW]]
#
# FVE and LOAD in the environment are the paths of fve and of the load generator.
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:-20000} window=${2:-64}
if [ -z "${FVE_LOAD_INSIDE:-}" ]; then
    if [ -z "${FVE:-}" ]; then
        cargo build --quiet --release --bin fve --example network_load
        FVE=target/release/fve LOAD=target/release/examples/network_load
    fi
    flags=-rnm
    [ "$(id -u)" = 0 ] && flags=-nm
    FVE_LOAD_INSIDE=1 FVE=$FVE LOAD=$LOAD exec unshare $flags "$0" "$count" "$window"
fi

mount -t tmpfs tmpfs /run
ip netns add server
ip netns add client
ip link add eth0 netns server type veth peer name eth0 netns client
ip -n server addr add 10.77.0.1/24 dev eth0
ip -n client addr add 10.77.0.50/24 dev eth0
for host in server client; do ip -n $host link set eth0 up; done

openssl_ops() { # private operations per second, on all cores
    openssl speed -seconds 3 -multi "$(nproc)" rsa2048 2>/dev/null | awk '/^rsa 2048/ { print $(NF-1) }'
}

before=$(openssl_ops)
ip netns exec server "$FVE" network-unlock serve --transport dhcp4 --accept-readable-keys \
    --certificate tests/network/test.cer --certificate tests/network/test.key \
    --rate-source 0/1 --rate-network 0/1 --rate-certificate 0/1 --rate-total 0/1 2>/run/log &
server=$!
trap 'kill $server' EXIT
until grep -q listening /run/log; do sleep 0.1; done
result=$(ip netns exec client "$LOAD" tests/network/test.cer 10.77.0.1:67 10.77.0.50 "$count" "$window")
slow=$(ip netns exec client "$LOAD" tests/network/test.cer 10.77.0.1:67 10.77.0.50 2000 1)
after=$(openssl_ops)

echo "$(nproc) cores; OpenSSL rsa2048 private operations per second: $before before, $after after"
echo "window $window: $result"
echo "one at a time: $slow"
awk -v a="$before" -v b="$after" -v r="${result#*per_second }" \
    'BEGIN { split(r, w, " "); printf "ratio to OpenSSL: %.2f\n", w[1] / ((a + b) / 2) }'
