#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make dist/vrouter_VERSION_ARCH.deb out of this source tree: all commands in /usr/bin, the Python
# libraries they need in /usr/lib/vrouter (a distribution's own are older), man pages, completion,
# systemd units. Needs dpkg-deb and what `make install` made.
set -eu
cd "$(dirname "$0")/../.."

die() { echo "build.sh: $*" >&2; exit 1; }

PYTHON=.venv/bin/python
[ -x "$PYTHON" ] && [ -e src/vrouter/dpcore/vrouter.bpf.o ] || die "run this first: make install"
command -v dpkg-deb >/dev/null || die "there is no dpkg-deb here: packages are made on Debian"
version=$("$PYTHON" -c 'import vrouter; print(vrouter.__version__)')
arch=$(dpkg --print-architecture)
# the compiled libraries fit the Python that they were fetched for
minor=$("$PYTHON" -c 'import sys; print(sys.version_info.minor)')
stage=build/debian
library=usr/lib/vrouter

rm -rf "$stage"
mkdir -p "$stage/DEBIAN" "$stage/usr/bin" "$stage/$library" "$stage/usr/share/man/man1" \
    "$stage/usr/share/bash-completion/completions" "$stage/usr/lib/systemd/system" \
    "$stage/usr/lib/sysusers.d" "$stage/usr/share/doc/vrouter/examples"
"$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile --target "$stage/$library" .
rm -rf "$stage/$library/bin" "$stage/$library/share" build/lib build/bdist.*

"$PYTHON" - "$stage" "/$library" <<'PYTHON'
"""A script in usr/bin for every entry point."""
import sys
import tomllib
from pathlib import Path

stage, library = Path(sys.argv[1]), sys.argv[2]
project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
for name, target in project["scripts"].items():
    module, function = target.split(":")
    script = stage / "usr/bin" / name
    script.write_text(
        "#!/usr/bin/python3 -sP\n"
        "import sys\n\n"
        f'sys.path.insert(1, "{library}")\n'
        f"from {module} import {function}  # noqa: E402\n\n"
        f"sys.exit({function}())\n"
    )
    script.chmod(0o755)
PYTHON

cp src/vrouter/data/man/*.1 "$stage/usr/share/man/man1/"
gzip -9n "$stage"/usr/share/man/man1/*.1
cp src/vrouter/data/completion/* "$stage/usr/share/bash-completion/completions/"
cp packaging/systemd/*.service "$stage/usr/lib/systemd/system/"
cp packaging/sysusers/vrouter.conf "$stage/usr/lib/sysusers.d/"
cp packaging/cni/10-vrouter.conflist packaging/ifupdown/vrouter packaging/networkd/05-vrouter.network \
    packaging/NetworkManager/vrouter.conf "$stage/usr/share/doc/vrouter/examples/"
cp LICENSE CHANGELOG.md "$stage/usr/share/doc/vrouter/"
cp packaging/debian/postinst packaging/debian/postrm "$stage/DEBIAN/"
chmod 755 "$stage/DEBIAN/postinst" "$stage/DEBIAN/postrm"
cat >"$stage/DEBIAN/control" <<CONTROL
Package: vrouter
Version: $version
Architecture: $arch
Maintainer: the vRouter authors <vrouter@localhost>
Section: net
Priority: optional
Depends: python3 (>= 3.$minor), python3 (<< 3.$((minor + 1))), libbpf1 (>= 1:1.1)
Recommends: iproute2
Description: virtual router for overlay networks, in eBPF
 Multi-tenant L2 and L3 networks for the VMs and containers of a host: VRFs,
 VXLAN, MPLSoUDP and MPLSoGRE, without a kernel module.
CONTROL
chmod -R go-w "$stage"
mkdir -p dist
dpkg-deb --root-owner-group -Zxz --build "$stage" "dist/vrouter_${version}_$arch.deb"
