# Installs on Debian or Ubuntu the packages that the caller names, where they are missing. To be
# sourced.

# Says whether what the package $1 brings is there. Libraries and pkg-config may come from elsewhere.
is_installed() {
    case $1 in
    libtss2-dev) pkg-config --exists tss2-esys 2>/dev/null ;;
    pkg-config) command -v pkg-config >/dev/null ;;
    *) dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed' ;;
    esac
}

install_missing() {
    local package missing=() as_root=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

install_missing "$@"
