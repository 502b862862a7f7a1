# SPDX-License-Identifier: Apache-2.0
"""Namespaces, offloads, ports, and the moving of addresses and routes, without dp-core."""

from __future__ import annotations

import subprocess

import pytest

from tests.system.helpers import MakeNs
from vrouter.dpcore.errors import DeviceError
from vrouter.host import netns, offload, ports, takeover
from vrouter.host.netlink import Netlink

ON_THE_NIC = """
ip addr add 10.0.0.1/24 brd + dev nic label nic:1
ip addr add 10.0.0.2/24 dev nic valid_lft 500 preferred_lft 300
ip addr add fd00::1/64 dev nic nodad
ip addr add 10.9.0.1/16 dev nic noprefixroute scope link
ip route add default via 10.0.0.9 src 10.0.0.2 mtu 1300 metric 7
ip route add default via 10.0.0.8
ip route add 8.8.8.0/24 nexthop via 10.0.0.9 weight 3 nexthop via 10.0.0.7
ip route add 7.7.7.7 dev nic table 99 proto 33
ip route add 9.9.9.9 via 192.0.2.1 dev nic onlink
ip -6 route add default via fd00::9 metric 55
ip -6 route add 2001:db8::/32 dev nic
ip nexthop add id 5 via 10.0.0.33 dev nic
ip route add 5.5.5.5 nhid 5
"""


def sh(name: str, command: str) -> str:
    with netns.enter(name):
        return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def snapshot(name: str) -> str:
    shown = [
        sh(name, command)
        for command in (
            "ip -o addr show nic",
            "ip route show table all",
            "ip -6 route show table all",
        )
    ]
    # lifetimes run on; what a test compares is all the rest
    return "".join(shown).replace("499sec", "500sec").replace("299sec", "300sec")


def test_addresses_and_routes_go_and_come_back_unchanged(namespaces: MakeNs) -> None:
    name = namespaces()
    with netns.enter(name), Netlink() as links:
        for key in ("all", "default"):
            netns.sysctl(f"net/ipv6/conf/{key}/addr_gen_mode", 1)
        links.add_veth("nic", "far")
        links.add_veth("new", "newi")
        for device in ("lo", "nic", "far", "new", "newi"):
            links.up(device)
        for line in ON_THE_NIC.strip().splitlines():
            sh(name, line)
        before = snapshot(name)
        nic, new = links.need("nic"), links.need("new")
        saved = takeover.Saved.from_json(takeover.collect("nic", nic.ifindex).to_json())

        takeover.move(saved, new.ifindex, "new")

        moved = snapshot(name)
        assert " dev nic" not in moved.replace("fe80::", "").replace("ff00::/8 dev nic", "")
        assert "7.7.7.7 dev new table 99 proto 33" in moved
        assert "10.0.0.1/24 brd 10.0.0.255 scope global new:1" in sh(name, "ip -o addr show new")

        leaving = takeover.collect("new", new.ifindex)
        takeover.move(saved, nic.ifindex, "nic", back=True)
        takeover.take_away(leaving)
        assert sorted(snapshot(name).splitlines()) == sorted(before.splitlines())


def test_a_lifetime_goes_on_while_saved(namespaces: MakeNs) -> None:
    name = namespaces()
    with netns.enter(name), Netlink() as links:
        links.add_veth("nic", "far")
        links.up("nic")
        sh(name, "ip addr add 10.0.0.2/24 dev nic valid_lft 500 preferred_lft 300")
        nic = links.need("nic")
        saved = takeover.collect("nic", nic.ifindex)
        old = takeover.Saved(
            saved.ifindex, saved.name, saved.when - 400, saved.addresses, saved.routes
        )
        takeover.take_away(saved)
        takeover.move(old, nic.ifindex, "nic", back=True)
        shown = sh(name, "ip -o addr show nic")
        assert "preferred_lft 0sec" in shown
        assert "valid_lft 100sec" in shown or "valid_lft 99sec" in shown


def test_a_namespace_is_made_entered_and_deleted(namespaces: MakeNs) -> None:
    name = namespaces()
    home = netns.inode()
    with netns.enter(name):
        assert netns.inode() != home
        assert netns.inode() == netns.inode(name)
    assert netns.inode() == home
    with pytest.raises(FileExistsError):
        netns.create(name)
    assert netns.delete(name)
    assert not netns.delete(name)
    assert name not in netns.names()


def test_a_file_left_by_a_killed_creation_is_replaced(namespaces: MakeNs) -> None:
    name = namespaces()
    netns.delete(name)
    netns.path(name).touch()
    assert not netns.exists(name)
    netns.create(name)
    assert netns.exists(name)


def test_ip_netns_and_we_share_the_folder(namespaces: MakeNs) -> None:
    """`ip netns add` after ours must not cover our mounts: they could not be removed then."""
    name, other = namespaces(), f"{namespaces()}-ip"
    subprocess.run(["ip", "netns", "add", other], check=True)
    try:
        assert netns.delete(name)
        assert not netns.path(name).exists()
    finally:
        subprocess.run(["ip", "netns", "del", other], check=True)


def test_processes_of_a_namespace_are_found(namespaces: MakeNs) -> None:
    name = namespaces()
    assert netns.processes(name) == []
    with netns.enter(name):
        process = subprocess.Popen(["sleep", "30"])
    try:
        assert netns.processes(name) == [process.pid]
    finally:
        process.kill()
        process.wait()


def test_a_plain_wire_has_no_offload(namespaces: MakeNs) -> None:
    with netns.enter(namespaces()), Netlink() as links:
        links.add_veth("a", "b")
        assert offload.get("a")["tx-udp_tnl-segmentation"]
        offload.make_plain("a")
        on = {name for name, value in offload.get("a").items() if value}
        assert not {n for n in on if n.endswith("-segmentation") or n.startswith("tx-checksum")}
        assert offload.get("b")["tx-tcp-segmentation"]
        offload.put("a", {"tx-checksum-ip-generic": True})
        assert offload.get("a")["tx-checksum-ip-generic"]


def test_a_tap_persists(namespaces: MakeNs) -> None:
    with netns.enter(namespaces()), Netlink() as links:
        made = ports.make_tap("tap0", mtu=1400)
        assert (made.mtu, made.up) == (1400, True)
        assert links.need("tap0").ifindex == made.ifindex
        assert ports.delete("tap0")
        assert not ports.delete("tap0")


def test_a_device_that_is_not_there_is_named(namespaces: MakeNs) -> None:
    with (
        netns.enter(namespaces()),
        Netlink() as links,
        pytest.raises(DeviceError, match=r"no netdevice eth9.*there are: lo"),
    ):
        links.need("eth9")
