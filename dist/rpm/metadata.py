"""Writes what cargo-generate-rpm needs, made from the metadata of the Debian packages in Cargo.toml, so that both contain the
same files. Arguments: the variant of the package, or nothing."""

import sys
import tomllib

# Where dist/build.sh copies dist/, with the same times in every build.
STAGE = "target/packages/stage"

# The package of a variant, in a line: cargo-deb has no such text for it.
SUMMARIES = {
    "fve-compat": "fve under the names of the programs of dislocker and libbde",
    "fve-network-unlock": "Network Unlock server for BitLocker volumes",
}

# Directories that have another name on Fedora.
PLACES = {"usr/share/zsh/vendor-completions/": "usr/share/zsh/site-functions/"}

with open("Cargo.toml", "rb") as manifest:
    package = tomllib.load(manifest)["package"]
base = package["metadata"]["deb"]
deb = base | (base["variants"][sys.argv[1]] if len(sys.argv) > 1 else {})


def script(name, argument):
    """A script of the Debian package, as it runs with one argument."""
    try:
        with open(f"{deb['maintainer-scripts']}/{name}") as file:
            text = file.read()
    except FileNotFoundError:
        return ""
    return f"set -- {argument}\n" + text.replace("#!/bin/sh\n", "").replace("#DEBHELPER#\n", "")


def assets():
    for asset in deb["assets"]:
        if isinstance(asset, dict):
            # cargo-generate-rpm makes no links.
            script_of_link = "compat" if deb["name"] == "fve-compat" else "mount.fve"
            source, place, mode = f"{STAGE}/dist/rpm/{script_of_link}", asset["dest"], "755"
        else:
            source, place, mode = asset
            # cargo-generate-rpm does not know CARGO_TARGET_DIR for a program alone.
            source = source.replace("target/release/", "target/packages/release/")
            if source.startswith("dist/"):
                source = f"{STAGE}/{source}"
        place = PLACES.get(place, place)
        options = ', config = "noreplace"' if place.startswith("etc/") else ""
        options += ", doc = true" if place.startswith("usr/share/doc/") else ""
        yield f'  {{ source = "{source}", dest = "/{place}", mode = "{mode}"{options} }},'


sysusers = "".join(
    f"systemd-sysusers {asset[0].rsplit('/', 1)[1]} || true\n"
    for asset in deb["assets"]
    if isinstance(asset, list) and asset[1].startswith("usr/lib/sysusers.d/")
)
# cargo-deb adds the same to the scripts of the Debian package.
units = " ".join(
    asset[0].rsplit("/", 1)[1]
    for asset in deb["assets"]
    if isinstance(asset, list) and asset[1] == "usr/lib/systemd/system/" and "@" not in asset[0]
)
stop = f"[ ! -d /run/systemd/system ] || systemctl disable --now {units} || true\n" if units else ""
has_units = any(isinstance(asset, list) and asset[1] == "usr/lib/systemd/system/" for asset in deb["assets"])
reload = "[ ! -d /run/systemd/system ] || systemctl daemon-reload || true\n" if has_units else ""
name = deb["name"]
print(f'name = "{name}"')
summary = SUMMARIES.get(name, package["description"])
print(f"summary = '''{summary}'''")
print("assets = [", *assets(), "]", sep="\n")
# Not for an upgrade.
at_removal = '[ "$1" = 0 ] || exit 0\n'
for name, begin, text in (
    ("post_install_script", "", sysusers + script("postinst", "configure") + reload),
    ("pre_uninstall_script", at_removal, stop + script("prerm", "remove")),
    ("post_uninstall_script", at_removal, script("postrm", "purge") + reload),
):
    # cargo-generate-rpm takes an empty text for the name of a file.
    if text:
        print(f"{name} = '''\n{begin}{text}'''")
