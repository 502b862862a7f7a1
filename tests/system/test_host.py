# SPDX-License-Identifier: Apache-2.0
"""Namespaces, offloads, ports, and the moving of addresses and routes, without dp-core."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest

from tests.system.helpers import MakeNs
from vrouter.dpcore.errors import DeviceError
from vrouter.host import netns, offload, ports, rtnl
from vrouter.host.netlink import Netlink
from vrouter.host.nic import handover
from vrouter.host.nic.addresses import Device
from vrouter.host.nic.snapshot import Snapshot, take

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
ip -6 addr add fd00::2/64 dev nic nodad
ip rule add pref 1000 from 10.0.0.0/8 iif nic lookup 99
ip -6 rule add pref 1001 oif nic lookup 98
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
            "ip rule",
            "ip -6 rule",
        )
    ]
    # lifetimes run on; what a test compares is all the rest
    return re.sub(r"\d+sec", "Nsec", "".join(shown))


def give_and_take(saved: Snapshot, to: Device) -> None:
    """Everything of `saved` goes to another device of the thread's namespace."""
    renamed = {saved.device.ifindex: to.ifindex}
    with rtnl.RtSocket() as rt:
        rt.batch(
            handover.give_addresses(saved, saved.addresses, to)
            + handover.give_routes(saved.routes, renamed, to, keep_object=False)
            + handover.give_rules(saved, to)
        )
        rt.batch(
            handover.take_rules(saved, saved.device)
            + handover.take_routes(saved.routes, saved.device)
            + handover.take_addresses(saved.addresses, saved.device)
        )


def give_back(saved: Snapshot, leaving: Snapshot) -> None:
    """The same backwards, routes by their nexthop objects."""
    same = {saved.device.ifindex: saved.device.ifindex}
    with rtnl.RtSocket() as rt:
        rt.batch(
            handover.give_addresses(saved, saved.addresses, saved.device)
            + handover.give_routes(saved.routes, same, saved.device, keep_object=True)
            + handover.give_rules(saved, saved.device)
            + handover.take_rules(saved, leaving.device)
            + handover.take_routes(leaving.routes, leaving.device)
            + handover.take_addresses(leaving.addresses, leaving.device)
        )


def test_addresses_routes_and_rules_go_and_come_back_unchanged(namespaces: MakeNs) -> None:
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
        new = links.need("new")
        saved = Snapshot.from_json(take(links, links.need("nic")).to_json())

        give_and_take(saved, Device(new.ifindex, "new"))

        moved = snapshot(name)
        assert " dev nic" not in moved.replace("fe80::", "").replace("ff00::/8 dev nic", "")
        assert "7.7.7.7 dev new table 99 proto 33" in moved
        assert "10.0.0.1/24 brd 10.0.0.255 scope global new:1" in sh(name, "ip -o addr show new")
        assert "1000:\tfrom 10.0.0.0/8 iif new lookup 99" in sh(name, "ip rule")

        give_back(saved, take(links, new))
        # in the same order too: the first IPv4 address is the primary one, the last IPv6 one is
        # preferred
        assert snapshot(name) == before


def test_many_routes_fit_through_the_socket(namespaces: MakeNs) -> None:
    name = namespaces()
    with netns.enter(name), Netlink() as links:
        for pair in (("nic", "far"), ("new", "newi")):
            links.add_veth(*pair)
            for end in pair:
                links.up(end)
        sh(name, "ip addr add 10.0.0.1/24 dev nic")
        lines = "".join(f"route add 10.{i >> 8}.{i & 255}.9/32 dev nic\n" for i in range(256, 3256))
        subprocess.run(["ip", "-n", name, "-batch", "-"], input=lines, text=True, check=True)
        saved = take(links, links.need("nic"))
        give_and_take(saved, Device(links.need("new").ifindex, "new"))
        moved = take(links, links.need("new"))
        assert len(moved.routes) == len(saved.routes) == 3001
        assert take(links, links.need("nic")).routes == []


def test_a_lifetime_goes_on_while_saved(namespaces: MakeNs) -> None:
    name = namespaces()
    with netns.enter(name), Netlink() as links:
        links.add_veth("nic", "far")
        links.up("nic")
        sh(name, "ip addr add 10.0.0.2/24 dev nic valid_lft 500 preferred_lft 300")
        saved = take(links, links.need("nic"))
        old = replace(saved, when=saved.when - 400)
        with rtnl.RtSocket() as rt:
            rt.batch(handover.take_addresses(saved.addresses, saved.device))
            rt.batch(handover.give_addresses(old, old.addresses, saved.device))
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
