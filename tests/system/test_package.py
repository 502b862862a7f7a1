# SPDX-License-Identifier: Apache-2.0
"""The Debian package: built, installed into a copy of this machine's file system, used, upgraded."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.system.helpers import MakeNs

# All that is written goes into a tmpfs, in a mount namespace that ends with the shell.
INSIDE = """
set -e
mount -t tmpfs none $SCRATCH
mkdir $SCRATCH/upper $SCRATCH/work $SCRATCH/root
mount -t overlay overlay -o lowerdir=/,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work $SCRATCH/root
for one in proc sys dev run; do mount --rbind /$one $SCRATCH/root/$one; done
cp $PACKAGE $SCRATCH/root/root/vrouter.deb
exec chroot $SCRATCH/root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -exc "$COMMANDS"
"""


def test_installed_it_works_with_the_distributions_python(
    package: Path, namespaces: MakeNs, tmp_path: Path
) -> None:
    name = namespaces()
    commands = f"""
        dpkg --no-triggers -i /root/vrouter.deb
        cd /
        in="ip netns exec {name}"
        $in vrouter load --name {name} --profile small
        trap "$in vrouter unload --name {name}" EXIT
        $in vif --list
        dpkg --no-triggers -i /root/vrouter.deb
        $in vrouter load --name {name} --profile small
        getent group vrouter
        zcat /usr/share/man/man1/vif.1.gz | head -1
        dpkg --no-triggers -r vrouter 2>&1 && ! command -v vif
        dpkg --no-triggers -i /root/vrouter.deb
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", INSIDE],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "SCRATCH": str(tmp_path),
            "PACKAGE": str(package),
            "COMMANDS": commands,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vif0/4351   OS: pkt1" in done.stdout
    assert f"instance {name} is loaded already; nothing changed" in done.stdout
    assert "\nvrouter:x:" in done.stdout
    assert f"unloaded instance {name}" in done.stdout
