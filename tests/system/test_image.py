# SPDX-License-Identifier: Apache-2.0
"""The image: built on a Debian made of this machine's packages, from no registry, and used: dp-core
loaded, a NIC taken over and an agent run by containers that have no more rights than is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.loader import unload
from vrouter.host import netns, vhost
from vrouter.lab import build, topology
from vrouter.lab.topology import Lab

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
BASE, IMAGE = "localhost/base:test", "localhost/vrouter:test"
# what docs/how-to/run-in-a-container.md says
RIGHTS = [
    "--network=host", "--cap-drop=all", "--cap-add=BPF,NET_ADMIN,NET_RAW,PERFMON,SYS_ADMIN,CHOWN",
    "--security-opt=unmask=/proc/sys", "--device=/dev/net/tun",
    "-v=/run/vrouter:/run/vrouter:rslave", "-v=/var/lib/vrouter:/var/lib/vrouter",
]  # fmt: skip
_PACKAGES = (
    "base-files base-passwd dpkg apt bash dash coreutils libc-bin sed grep tar gzip findutils mawk "
    "diffutils hostname perl-base python3 libbpf1 iproute2"
)
_CONFIG = """
[containers]
# what a sandbox allows: podman's own wish may be above it
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""


def output(*command: str, **options: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **options}
    ).stdout


def debian(root: Path) -> None:
    """A Debian of the packages that an image starts with, as they are installed here."""
    no = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
    depends = output(
        "apt-cache", "depends", "--recurse", "--installed", *(f"--no-{one}" for one in no),
        *_PACKAGES.split(),
    )  # fmt: skip
    names = {line for line in depends.splitlines() if line[:1].isalnum()}
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}|${binary:Package}\n", *names],
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    packages = [line[4:] for line in shown.splitlines() if line.startswith("ii ")]
    info = root / "var/lib/dpkg/info"
    for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "tmp", "proc", "sys", "dev",
                   "etc/apt", "var/lib/dpkg/updates", "var/lib/dpkg/triggers",
                   "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):  # fmt: skip
        (root / folder).mkdir(parents=True)
    info.mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    files = sorted({one for one in output("dpkg", "-L", *packages).splitlines() if one[:1] == "/"})
    there = "\n".join(f".{one}" for one in files if os.path.lexists(one))
    copy = f"tar -C / --no-recursion -cf - -T - | tar -C {root} -xf - --keep-directory-symlink"
    subprocess.run(["sh", "-c", copy], input=there, text=True, check=True)
    (root / "var/lib/dpkg/status").write_text(output("dpkg-query", "-s", *packages).strip() + "\n")
    for package in packages:
        for kind in ("list", "md5sums", "postinst", "prerm", "triggers"):
            file = Path(f"/var/lib/dpkg/info/{package}.{kind}")
            if file.exists():
                shutil.copy(file, info)
    shutil.copy("/var/lib/dpkg/info/format", info)
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", root / "etc")
    (root / "etc/apt/sources.list").write_text("")
    shutil.rmtree(root / "etc/apt/sources.list.d", ignore_errors=True)
    subprocess.run(["ldconfig", "-r", root], check=True)


class Podman:
    """podman with a store of its own."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="vr-img-"))
        (self.place / "containers.conf").write_text(_CONFIG)

    def command(self, *words: str) -> list[str]:
        store = [f"--root={self.place}/root", f"--runroot={self.place}/run"]
        return ["podman", "--storage-driver=vfs", *store, *words]

    def __call__(self, *words: str, space: str = "") -> str:
        """What it printed; in the namespace `space`."""
        enter = ["nsenter", f"--net={netns.path(space)}"] if space else []
        done = subprocess.run(
            [*enter, *self.command(*words)],
            cwd=ROOT,
            env={**os.environ, "CONTAINERS_CONF": str(self.place / "containers.conf")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def close(self) -> None:
        """Remove all containers, images, and the store."""
        self("rm", "--all", "--force", "--time", "0")
        subprocess.run(["umount", "-R", f"{self.place}/root/vfs"], capture_output=True)
        shutil.rmtree(self.place, ignore_errors=True)


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    made = Podman()
    try:
        debian(made.place / "rootfs")
        archive = made.place / "rootfs.tar"
        output("tar", "-C", str(made.place / "rootfs"), "-cf", str(archive), ".")
        made("import", "-q", str(archive), BASE)
        archive.unlink()
        shutil.rmtree(made.place / "rootfs")
        output(str(ROOT / "packaging/debian/build.sh"))
        package = max((ROOT / "dist").glob("vrouter_*.deb"), key=lambda one: one.stat().st_mtime)
        # no registry is asked, nor an archive of packages: the base has none, and needs none
        made(
            "build", "--pull-never", "--isolation=chroot", "--network=host",
            "-f", "packaging/Containerfile", "-t", IMAGE, f"--build-arg=BASE={BASE}",
            f"--build-arg=PACKAGE={package.relative_to(ROOT)}", ".",
        )  # fmt: skip
        yield made
    finally:
        made.close()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host and its gateway, with nothing of ours on the host."""
    lab = build.up(topology.plan("one-host", unique("i"), stage=1), lambda line: None)
    try:
        unload(Instance(lab.instance("h1")))
        yield lab
    finally:
        build.down(lab.id, lambda line: None)


def test_a_host_is_run_by_containers_alone(podman: Podman, lab: Lab) -> None:
    space, name = lab.netns("h1"), lab.instance("h1")

    def run(*words: str, options: tuple[str, ...] = ("--rm",)) -> str:
        return podman("run", *options, *RIGHTS, IMAGE, *words, space=space)

    assert run("vrouter", "--version").startswith("vrouter (vrouter) ")
    Path("/var/lib/vrouter").mkdir(exist_ok=True)
    run("vrouter", "load", "--name", name, "--profile", "small")
    status = run("vrouter", "status")
    assert f"instance    {name}\n" in status and "has all it takes" in status
    try:
        run("vrouter", "vhost", "up", "--physical", "eth0")
        run("vrouter-agent", options=("-d", "--name", "agent"))
        try:
            wait_until(lambda: ": ready" in _log(podman), 60)
            assert helper.answered(lab, "h1", "172.30.0.2") == 5
            assert helper.answered(lab, "gw", "172.30.0.1") == 5
            assert "agent       vif0/2, alive" in run("vrouter", "status")
            assert helper.differences(lab, "h1") == []
        finally:
            podman("stop", "--time", "5", "agent", space=space)
        assert "Traceback" not in _log(podman)
        # the container is gone, and forwarding is not
        assert helper.answered(lab, "h1", "172.30.0.2") == 5
        run("vrouter", "vhost", "down")
    finally:
        vhost.forget(Instance(name))
        unload(Instance(name))


def _log(podman: Podman) -> str:
    done = subprocess.run(
        podman.command("logs", "agent"),
        env={**os.environ, "CONTAINERS_CONF": str(podman.place / "containers.conf")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.stdout
