# SPDX-License-Identifier: Apache-2.0
"""What `make demo` shows: all that it promises, again and again, and the lab stays up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.compile import ROOT
from tests.system.helpers import SOURCE, Vrouter, unique
from vrouter.host import netns
from vrouter.lab import proof, state
from vrouter.lab.topology import ENCAPS

COUNT = 20  # pings of its first proof
OUTER = {
    "vxlan": r"VXLAN, flags \[I\] \(0x08\), vni 5001",
    "mplsoudp": r"\.6635: MPLS.*label 203",
    "mplsogre": r"GREv0.*MPLS.*label 203",
}


@pytest.fixture(scope="module")
def demo_id(vrouter: Vrouter) -> Iterator[str]:
    name = unique("d")
    yield name
    assert vrouter("lab", "down", "--id", name).returncode == 0


def sections(text: str) -> dict[str, str]:
    """What stands under each heading."""
    parts = re.split(r"^== (.*)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def section(text: str, title: str) -> str:
    return next(body for name, body in sections(text).items() if name.startswith(title))


def assert_all_is_shown(text: str, encap: str) -> None:
    assert "is up already" in text or "agents run on h1 and h2" in section(text, "two hosts")
    pings = section(text, "the VMs talk")
    for pair in (r"vm1 -> vm2", r"vm1 -> vm3", r"vm4 -> vm5", r"h1 -> h2"):
        assert re.search(rf"{pair} .* 3 of 3 answered", pings), pair
    vifs = section(text, "vif --list on h1")
    for device in ("eth0", "vhost0", "pkt0", "tap-vm1", "tap-vm2", "tap-vm4"):
        assert re.search(rf"vif0/\d+ +OS: {device}\b", vifs), device
    path = section(text, "the path of one packet")
    near, far = re.split(r"^ *h2:$", path, flags=re.MULTILINE)
    for events, words in ((near, ("RX", "tap-vm1", "ENCAP", "TX", "eth0")),
                          (far, ("RX", "eth0", "DECAP", "TX", "tap-vm3"))):  # fmt: skip
        at = [events.upper().index(word.upper()) for word in words]
        assert at == sorted(at), events
    counters = section(text, "proof 1")
    rows = re.findall(r"(h\d) (\S+) +RX \+(\d+) +TX \+(\d+) +drops \+(\d+)", counters)
    assert {row[:2] for row in rows} == {
        ("h1", "eth0"), ("h1", "tap-vm1"), ("h2", "eth0"), ("h2", "tap-vm3"),
    }  # fmt: skip
    assert {row[2:] for row in rows} == {(str(COUNT), str(COUNT), "0")}
    capture = section(text, "proof 2")
    assert re.search(r"172\.30\.0\.1.* > 172\.30\.0\.2", capture)
    assert re.search(OUTER[encap], capture), capture
    detached = section(text, "proof 3")
    assert "0 of 3 answered" in detached
    assert "attached again: 3 of 3 answered" in detached
    assert "lab exec" in section(text, "everything held").replace("exec --id", "lab exec --id")


def test_it_shows_what_it_promises_and_again(demo_id: str, vrouter: Vrouter) -> None:
    inodes = set()
    for again in (False, True):
        done = vrouter("lab", "demo", "--id", demo_id)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert_all_is_shown(done.stdout, "vxlan")
        assert (f"lab {demo_id} is up already" in done.stdout) is again
        there = state.load(demo_id)
        assert there is not None and there.phase == "up"
        inodes.add(netns.inode(there.netns("h1")))
    assert len(inodes) == 1
    ping = ("lab", "exec", "--id", demo_id, "vm1", "--", "ping", "-c", "1", "10.1.1.3")
    assert vrouter(*ping).returncode == 0


def test_two_at_a_time_take_turns(demo_id: str, vrouter: Vrouter) -> None:
    codes = []

    def run() -> None:
        codes.append(vrouter("lab", "demo", "--id", demo_id).returncode)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]


def test_killed_while_it_shows_that_nothing_passes(demo_id: str) -> None:
    """Even then traffic goes on: dp-core is put back."""
    code = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "lab", "demo", "--id", demo_id]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any(re.search("detached from .* of h2", line) for line in process.stdout)
        finally:
            process.kill()
    there = state.load(demo_id)
    assert there is not None
    deadline = time.monotonic() + 10
    while not proof.ping(there, "vm1", there.vm("vm3").ip, 1, wait=1).answered:
        assert time.monotonic() < deadline
    assert proof.ping(there, "vm1", there.vm("vm3").ip, 3).answered == 3


@pytest.mark.parametrize("encap", [one for one in ENCAPS if one != "vxlan"])
def test_it_proves_every_encapsulation(encap: str, vrouter: Vrouter) -> None:
    name = unique("d")
    try:
        done = vrouter("lab", "demo", "--id", name, "--encap", encap)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert_all_is_shown(done.stdout, encap)
    finally:
        vrouter("lab", "down", "--id", name)


def test_make_knows_all_targets() -> None:
    """And run through sudo, each of them that writes here gives the folder back at its end."""
    writes = ("demo", "test", "soak", "coverage", "bench", "install", "lint", "bpf", "setup")
    for target in (*writes, "clean"):
        done = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "setup.sh own' EXIT" in done.stdout or target == "clean", target


def test_what_root_made_is_given_to_who_called_sudo(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "packaging").mkdir(parents=True)
    script = shutil.copy(ROOT / "packaging/setup.sh", place / "packaging")
    outside = tmp_path / "outside"
    outside.touch()
    (place / "link").symlink_to(outside)
    (place / "made").mkdir()
    (place / "made/file").touch()
    (place / ".git").mkdir()
    sudo = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SUDO_UID": "4242", "SUDO_GID": "4343"}
    subprocess.run(["sh", script, "own"], env=sudo, check=True)
    made = [place, place / "made", place / "made/file", place / "link", Path(script)]
    assert {(one.lstat().st_uid, one.lstat().st_gid) for one in made} == {(4242, 4343)}
    assert outside.stat().st_uid == 0  # links are not followed
    assert (place / ".git").stat().st_uid == 0  # nothing of ours


def test_the_python_that_runs_it_is_the_folders() -> None:
    """The demo's hints name commands that exist."""
    assert Path(sys.executable).with_name("vrouter").exists()
