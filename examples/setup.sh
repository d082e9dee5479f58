# Installs, on Debian or Ubuntu, what building fve takes and the packages that the caller names,
# where they are missing. To be sourced.

install_missing() {
    local package missing=() as_root=()
    # libtss2 reaches the TPM.
    pkg-config --exists tss2-esys 2>/dev/null || missing+=(pkg-config libtss2-dev)
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

install_missing "$@"
