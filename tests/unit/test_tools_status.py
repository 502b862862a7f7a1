# SPDX-License-Identifier: Apache-2.0
"""What `vrouter status` finds on a real kernel, and whether the commands that it names mend it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from socket import if_nametoindex

import pytest

from vrouter.dpcore import loader, stale
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.names import Family, NhFlag, NhType, VifFlag, VifType
from vrouter.dpcore.records import Member, Nexthop, Vif
from vrouter.dpcore.sizes import SMALL
from vrouter.host import offload
from vrouter.tools import vrouter_limits, vrouter_status

SOURCE = Path(__file__).parents[2] / "src"


def run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)


def add(core: DpCore, name: str, kind: VifType, **values: object) -> Vif:
    run(f"ip link add {name} type veth peer name {name}p")
    number = if_nametoindex(name)
    vif = Vif(idx=number, name=name, type=kind, ifindex=number, os_ifindex=number, mac=bytes(6))
    return core.vifs.add(replace(vif, **values))  # type: ignore[arg-type]


@pytest.fixture
def core(instance: Instance) -> DpCore:
    loader.load(instance, SMALL)
    with DpCore.open(instance) as one:
        nic = add(one, "n0", VifType.PHYSICAL, flags=VifFlag.VHOST_PHYS)
        add(one, "v0", VifType.HOST, xconnect=nic.idx)
        add(one, "t0", VifType.VIRTUAL, mac=bytes.fromhex("00005e000100"))
        return one


def names(core: DpCore) -> set[str]:
    return {one.name for one in vrouter_limits.limits(core)}


def test_every_limit_is_mended_by_its_command(instance: Instance, core: DpCore) -> None:
    run("sysctl -w net.ipv4.conf.v0.rp_filter=1")
    offload.put("n0", {"tx-tcp-segmentation": False})
    with DpCore.open(instance) as opened:
        found = vrouter_limits.limits(opened)
        assert {"net.ipv4.conf.v0.rp_filter", "tx-tcp-segmentation of n0", "MTU of n0"} <= {
            one.name for one in found
        }
        for one in found:
            # those of the whole machine; and what `vrouter load` would mend
            if not one.name.startswith(("net.core", "kernel", "exception")):
                run(one.command)
                assert one.name not in names(opened), one
        assert not [name for name in names(opened) if "n0" in name or "v0" in name]


def test_a_flood_that_does_not_fit_the_backlog(
    instance: Instance, core: DpCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = NhFlag.VALID | NhFlag.COMPOSITE_ENCAP
    with DpCore.open(instance) as opened:
        tap = opened.vifs.by_name("t0")
        assert tap is not None
        encap = Nexthop(id=2, type=NhType.ENCAP, family=Family.BRIDGE, oif=tap.idx)
        opened.nexthops.put(encap)
        part = Nexthop(id=3, type=NhType.COMPOSITE, family=Family.BRIDGE, flags=flags)
        opened.nexthops.put(replace(part, members=(Member(nh=2),) * 40))
        top = replace(part, id=4, flags=NhFlag.VALID | NhFlag.MULTICAST)
        opened.nexthops.put(replace(top, members=(Member(nh=3), Member(nh=2))))
        assert vrouter_limits.largest_flood(opened) == 41
        values = {"net.core.netdev_max_backlog": 82, "kernel.bpf_stats_enabled": 1}
        monkeypatch.setattr(vrouter_limits, "_read_of_machine", values.get)
        assert "net.core.netdev_max_backlog" not in names(opened)
        assert "kernel.bpf_stats_enabled" in names(opened)
        values["net.core.netdev_max_backlog"] = 81
        commands = [one.command for one in vrouter_limits.limits(opened)]
        assert "sysctl -w net.core.netdev_max_backlog=2000" in commands


def test_the_link_of_a_device_that_is_gone(instance: Instance, core: DpCore) -> None:
    run("ip link del t0")
    with DpCore.open(instance) as opened:
        idx = next(vif.idx for vif in opened.vifs.items() if vif.name == "t0")
        told = vrouter_status.stale(opened)
        assert {"what": f"link of vif{idx}: its netdevice is gone",
                "command": f"vif --name {instance.name} --delete {idx}"} in told  # fmt: skip
        result = loader.load(instance)
        assert f"removed the link of vif{idx}: its netdevice is gone" in result.notes
        assert stale.dead_links(instance) == []
        assert opened.vifs.get(idx) is not None
        opened.vifs.delete(idx)


def test_an_instance_whose_namespace_is_gone(instance: Instance) -> None:
    dead = Instance(f"{instance.name}-dead")
    code = (
        "from vrouter.dpcore import loader, instance, sizes;"
        f"loader.load(instance.Instance({dead.name!r}), sizes.SMALL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    try:
        subprocess.run(
            ["unshare", "--net", sys.executable, "-c", code], check=True, env=environment
        )
        assert dead.is_loaded()
        # too young: its namespace may be in nobody's sight for a moment
        loader.load(instance, SMALL)
        assert dead.is_loaded()
        old = time.time() - 100
        os.utime(dead.registry_path, (old, old))
        with DpCore.open(instance) as opened:
            command = f"vrouter unload --name {dead.name}"
            assert command in [one["command"] for one in vrouter_status.stale(opened)]
        notes = loader.load(instance).notes
        # a load of somebody else on this machine may have come before
        assert not notes or notes == (
            f"removed vRouter {dead.name!r}: its network namespace is gone",
        )
        assert not dead.is_loaded() and not dead.run_dir.exists()
        assert instance.is_loaded()
    finally:
        loader.unload(dead)


def test_a_namespace_that_only_a_thread_is_in_lives(instance: Instance) -> None:
    """Also one of which no process has its first thread in it, and no netdevice is attached."""
    from vrouter.host import netns

    other = Instance(f"{instance.name}-thread")

    def body() -> None:
        loader.load(other, SMALL)
        old = time.time() - 100
        os.utime(other.registry_path, (old, old))
        home = netns.inode()

        def elsewhere() -> list[str]:
            assert netns.inode() != home
            return [one.name for one in stale.dead_instances()]

        assert other.name not in netns.run(None, elsewhere)

    try:
        netns.run(None, body)
    finally:
        loader.unload(other)
