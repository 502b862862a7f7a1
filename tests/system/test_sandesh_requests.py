# SPDX-License-Identifier: Apache-2.0
"""Requests through the door, and what the tables hold then."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.system.doors import ENCAP, GATEWAY_MAC, DoorHost, add_vif, door_host, encap, refused
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.names import NhFlag, NhType, VifFlag, VifType
from vrouter.sandesh import ADD, DEL, GET, RESET, Client

MAC = bytes.fromhex("02000a010101")


@pytest.fixture(scope="module")
def host() -> Iterator[DoorHost]:
    with door_host() as made:
        made.start()
        yield made


@pytest.fixture
def client(host: DoorHost) -> Iterator[Client]:
    with host.client() as made:
        made.request("vrouter_ops", RESET)
        yield made


@pytest.fixture
def core(host: DoorHost) -> Iterator[DpCore]:
    with host.core() as opened:
        yield opened


def host_number(address: str) -> int:
    return int(struct.unpack("=I", socket.inet_aton(address))[0])


# ---- vifs -----------------------------------------------------------------------------


def test_a_vif_is_added_changed_read_and_removed(client: Client, core: DpCore) -> None:
    add_vif(client, 7, "tap7", vifr_ip=host_number("10.1.1.7"), vifr_ip6_u=0xFD, vifr_flags=0x141)
    vif = core.vifs.get(7)
    assert vif is not None
    assert (vif.name, vif.type, vif.vrf, vif.mac) == ("tap7", VifType.VIRTUAL, 1, GATEWAY_MAC)
    assert vif.ip == ip_address("10.1.1.7")
    assert vif.ip6 == ip_address("fd00::")
    assert vif.flags == VifFlag.POLICY | VifFlag.L3 | VifFlag.DHCP
    assert core.vifs.is_attached(7)
    add_vif(client, 7, "tap7", vifr_flags=0x80, vifr_vrf=2, vifr_nh_id=9, vifr_qos_map_index=3)
    changed = core.vifs.get(7)
    assert changed is not None
    assert (changed.flags, changed.vrf, changed.nh_id, changed.qos) == (VifFlag.L2, 2, 9, 3)
    assert changed.ifindex == vif.ifindex
    got = client.get("vr_interface_req", vifr_idx=7)
    assert (got.vifr_vrf, got.vifr_nh_id, got.vifr_name, got.vifr_mac) == (
        2,
        9,
        "tap7",
        GATEWAY_MAC,
    )
    assert (got.vifr_transport, got.vifr_mcast_vrf, got.vifr_mtu) == (2, 0xFFFF, 9160)
    assert got == client.get("vr_interface_req", vifr_idx=-1, vifr_os_idx=vif.os_ifindex)
    assert got == client.get("vr_interface_req", vifr_idx=-1, vifr_name="tap7")
    assert [one.vifr_idx for one in client.dump("vr_interface_req")] == [7, 4350, 4351]
    client.request("vr_interface_req", DEL, vifr_idx=7)
    assert core.vifs.get(7) is None
    assert refused(client, "vr_interface_req", DEL, vifr_idx=7) == errno.ENOENT
    assert refused(client, "vr_interface_req", GET, vifr_idx=7) == errno.ENOENT


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (errno.EINVAL, {"vifr_idx": -1}),
        (errno.EINVAL, {"vifr_idx": 4352}),
        (errno.EINVAL, {"vifr_type": 12}),
        (errno.EINVAL, {"vifr_transport": 9}),
        (errno.EINVAL, {"vifr_mac": b"\2\0\0"}),
        (errno.EINVAL, {"vifr_vrf": 70}),
        (errno.EINVAL, {"vifr_rid": 1}),
        (errno.EINVAL, {"vifr_flags": 0x8}),  # mirrored, and no mirror
        (errno.EINVAL, {"vifr_name": "no/name"}),
        (errno.EINVAL, {"vifr_name": "sixteen-letters-"}),
        (errno.EINVAL, {"vifr_mtu": -1}),
        (errno.EINVAL, {"vifr_flags": -1}),
        (errno.ENODEV, {"vifr_transport": 1}),
        (errno.EOPNOTSUPP, {"vifr_flags": 0x4}),  # service chain
        (errno.EOPNOTSUPP, {"vifr_fat_flow_protocol_port": (80,)}),
        (errno.EOPNOTSUPP, {"vifr_isid": 5}),
        (errno.EOPNOTSUPP, {"vifr_loopback_ip": 5}),
        (errno.EOPNOTSUPP, {"vifr_cross_connect_idx": (1, 2)}),
    ],
)
def test_vifs_that_are_refused_leave_nothing(
    host: DoorHost, client: Client, core: DpCore, number: int, fields: dict[str, Any]
) -> None:
    before = host.devices(host.near)
    wanted = {"vifr_name": "tap8", "vifr_vrf": 1, "vifr_mac": GATEWAY_MAC, "vifr_mcast_vrf": -1}
    wanted |= {"vifr_idx": 8, "vifr_type": 3, "vifr_transport": 2, "vifr_mir_id": 255}
    assert refused(client, "vr_interface_req", ADD, **{**wanted, **fields}) == number
    assert [vif.idx for vif in core.vifs.items()] == [4350, 4351]
    assert host.devices(host.near) == before


def test_parts_of_a_vif(client: Client, core: DpCore) -> None:
    add_vif(client, 7, "tap7")
    part: dict[str, Any] = {"vifr_parent_vif_idx": 7, "vifr_vlan_id": 100, "vifr_ovlan_id": 101}
    add_vif(client, 8, "tap7.100", 6, **part, vifr_src_mac=MAC)
    vif = core.vifs.get(8)
    assert vif is not None
    assert (vif.parent, vif.vlan, vif.ovlan, vif.src_macs) == (7, 100, 101, (MAC,))
    got = client.get("vr_interface_req", vifr_idx=8)
    assert (got.vifr_parent_vif_idx, got.vifr_vlan_id, got.vifr_ovlan_id) == (7, 100, 101)
    assert got.vifr_src_mac == MAC
    assert refused(client, "vr_interface_req", DEL, vifr_idx=7) == errno.EBUSY
    client.request("vr_interface_req", DEL, vifr_idx=8)
    client.request("vr_interface_req", DEL, vifr_idx=7)


# ---- nexthops -------------------------------------------------------------------------


def test_nexthops(client: Client, core: DpCore) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    nexthop = core.nexthops.get(10)
    assert nexthop is not None
    assert (nexthop.type, nexthop.oif, nexthop.rewrite, nexthop.vrf) == (NhType.ENCAP, 7, ENCAP, 1)
    # without bytes over one that has them it stays readable
    fields = {"nhr_id": 10, "nhr_type": 2, "nhr_family": 2, "nhr_encap_oif_id": (7,)}
    client.request("vr_nexthop_req", ADD, **fields, nhr_flags=0, nhr_vrf=1)
    got = client.get("vr_nexthop_req", nhr_id=10)
    assert (got.nhr_encap, got.nhr_encap_len, got.nhr_flags) == (ENCAP, 14, 0)
    assert (got.nhr_encap_oif_id, got.nhr_encap_valid) == ((7, -1, -1), (1, 0, 0))
    client.request("vr_nexthop_req", DEL, nhr_id=10)
    assert core.nexthops.get(10) is None
    assert refused(client, "vr_nexthop_req", DEL, nhr_id=10) == errno.EINVAL
    assert refused(client, "vr_nexthop_req", GET, nhr_id=10) == errno.ENOENT
    assert refused(client, "vr_nexthop_req", DEL, nhr_id=0) == errno.EINVAL


def test_tunnels_by_their_addresses_and_ports(client: Client, core: DpCore) -> None:
    add_vif(client, 2, "nic2", 2, vifr_vrf=0)
    sip, dip = host_number("172.30.0.1"), host_number("172.30.0.2")
    common: dict[str, Any] = {"nhr_type": 3, "nhr_encap_oif_id": (2, -1, -1), "nhr_encap": ENCAP}
    v4 = {**common, "nhr_family": 2, "nhr_tun_sip": sip, "nhr_tun_dip": dip}
    client.request("vr_nexthop_req", ADD, nhr_id=20, nhr_flags=0x81, **v4)
    ports = {"nhr_tun_sport": socket.htons(8099), "nhr_tun_dport": socket.htons(8097)}
    client.request("vr_nexthop_req", ADD, nhr_id=21, nhr_flags=0x11, **v4, **ports)
    v6 = {
        "nhr_tun_sip6": ip_address("fd00::1").packed,
        "nhr_tun_dip6": ip_address("fd00::2").packed,
    }
    client.request("vr_nexthop_req", ADD, nhr_id=22, nhr_flags=0x41, nhr_family=10, **common, **v6)
    one, two, three = (core.nexthops.get(id) for id in (20, 21, 22))
    assert one is not None and two is not None and three is not None
    assert (str(one.sip), str(one.dip)) == ("172.30.0.1", "172.30.0.2")
    assert (two.sport, two.dport) == (8099, 8097)
    assert (str(three.sip), str(three.dip)) == ("fd00::1", "fd00::2")
    got = [client.get("vr_nexthop_req", nhr_id=id) for id in (20, 21, 22)]
    assert (got[0].nhr_tun_sip, got[0].nhr_tun_dip) == (sip, dip)
    assert got[1].nhr_tun_dport & 0xFFFF == socket.htons(8097)
    assert got[2].nhr_tun_dip6 == ip_address("fd00::2").packed
    # what was read can be written again as it is
    for message in got:
        client.request("vr_nexthop_req", **{**message.fields, "h_op": ADD})
    assert [core.nexthops.get(id) for id in (20, 21, 22)] == [one, two, three]


def test_composites(client: Client, core: DpCore) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    members = {"nhr_nh_list": (10, 11), "nhr_label_list": (-1, 30), "nhr_nh_count": 2}
    kind = {"nhr_type": 6, "nhr_family": 2, "nhr_flags": 0x401, "nhr_ecmp_config_hash": 0x1A}
    client.request("vr_nexthop_req", ADD, nhr_id=40, **kind, **members)
    composite = core.nexthops.get(40)
    assert composite is not None
    assert [(one.nh, one.label) for one in composite.members] == [(10, None), (11, 30)]
    assert composite.flags == NhFlag.VALID | NhFlag.COMPOSITE_ECMP
    got = client.get("vr_nexthop_req", nhr_id=40)
    assert (got.nhr_nh_list, got.nhr_label_list, got.nhr_nh_count) == ((10, 11), (-1, 30), 2)
    assert got.nhr_ecmp_config_hash == 0x1A
    assert client.get("vr_nexthop_req", nhr_id=10).nhr_ref_cnt == 2


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (errno.EINVAL, {"nhr_type": 9}),
        (errno.EINVAL, {"nhr_family": 3}),
        (errno.EINVAL, {"nhr_id": 1 << 20}),
        (errno.EINVAL, {"nhr_id": -1}),
        (errno.EINVAL, {"nhr_encap_oif_id": ()}),
        (errno.ENODEV, {"nhr_encap_oif_id": (99,)}),
        (errno.EINVAL, {"nhr_encap": bytes(33)}),
        (errno.EINVAL, {"nhr_flags": 0x4}),
        (errno.EOPNOTSUPP, {"nhr_transport_label": 7}),
        (errno.EOPNOTSUPP, {"nhr_encap_oif_id": (7, 7, -1), "nhr_encap_valid": (1, 1, 0)}),
        (errno.EOPNOTSUPP, {"nhr_pbb_mac": MAC}),
        (errno.EOPNOTSUPP, {"nhr_flags": 0x400001}),
        (errno.EINVAL, {"nhr_type": 6, "nhr_nh_list": (1,), "nhr_label_list": (1, 2)}),
    ],
)
def test_nexthops_that_are_refused(
    client: Client, core: DpCore, number: int, fields: dict[str, Any]
) -> None:
    add_vif(client, 7, "tap7")
    wanted: dict[str, Any] = {"nhr_id": 10, "nhr_type": 2, "nhr_family": 2, "nhr_flags": 1}
    wanted |= {"nhr_encap_oif_id": (7, -1, -1), "nhr_encap": ENCAP}
    assert refused(client, "vr_nexthop_req", ADD, **{**wanted, **fields}) == number
    assert list(core.nexthops.ids()) == [0]


# ---- routes ---------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "base"), [(2, "10.{}.0.0/16"), (10, "fd00:{}::/32")])
def test_routes(client: Client, core: DpCore, family: int, base: str) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    encap(client, 11, 7)
    prefix = ip_network(base.format(1))
    longer: Any = next(prefix.subnets(8))
    address = prefix.network_address + 5
    table = core.routes_of(prefix)
    common = {"rtr_vrf_id": 1, "rtr_family": family}
    where = {"rtr_prefix": prefix.network_address.packed, "rtr_prefix_len": prefix.prefixlen}
    deeper = {"rtr_prefix": longer.network_address.packed, "rtr_prefix_len": longer.prefixlen}
    client.request("vr_route_req", ADD, **common, **where, rtr_nh_id=10)
    client.request(
        "vr_route_req", ADD, **common, **deeper, rtr_nh_id=11, rtr_label=30, rtr_label_flags=3
    )
    found = table.lookup(1, address)
    assert found is not None
    assert (found.prefix, found.nh, found.label, int(found.flags)) == (longer, 11, 30, 3)
    asked = {"rtr_prefix": address.packed, "rtr_prefix_len": 8 * len(address.packed)}
    got = client.get("vr_route_req", **common, **asked)
    assert (got.rtr_nh_id, got.rtr_label, got.rtr_replace_plen) == (11, 30, longer.prefixlen)
    # what all of the shorter prefix takes
    assert client.get("vr_route_req", **common, **where).rtr_nh_id == 10
    routes = list(client.dump("vr_route_req", **common))
    assert [(one.rtr_prefix, one.rtr_prefix_len, one.rtr_nh_id) for one in routes] == [
        (where["rtr_prefix"], where["rtr_prefix_len"], 10),
        (deeper["rtr_prefix"], deeper["rtr_prefix_len"], 11),
    ]
    # a delete carries what the range falls back to
    fallback = {"rtr_nh_id": 10, "rtr_replace_plen": prefix.prefixlen}
    client.request("vr_route_req", DEL, **common, **deeper, **fallback)
    assert client.get("vr_route_req", **common, **asked).rtr_nh_id == 10
    client.request("vr_route_req", DEL, **common, **where)
    got = client.get("vr_route_req", **common, **asked)
    assert (got.rtr_nh_id, got.rtr_label) == (0, -1)
    assert refused(client, "vr_route_req", DEL, **common, **where) == errno.ENOENT


def test_bridge_entries_and_stitched_ones(client: Client, core: DpCore) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    mac = {"rtr_vrf_id": 1, "rtr_family": 7, "rtr_mac": MAC}
    client.request("vr_route_req", ADD, **mac, rtr_nh_id=10, rtr_label=5001, rtr_label_flags=3)
    entry = core.bridge.get(1, MAC)
    assert entry is not None and (entry.nh, entry.label) == (10, 5001)
    got = client.get("vr_route_req", **mac)
    assert (got.rtr_mac, got.rtr_nh_id, got.rtr_label, got.rtr_index) == (
        MAC,
        10,
        5001,
        entry.index,
    )
    (one,) = client.dump("vr_route_req", rtr_vrf_id=1, rtr_family=7)
    assert one == got
    route = {"rtr_vrf_id": 1, "rtr_family": 2, "rtr_prefix": bytes((10, 1, 1, 1))}
    route |= {"rtr_prefix_len": 32, "rtr_nh_id": 10}
    client.request("vr_route_req", ADD, **route, rtr_mac=MAC, rtr_label_flags=2)
    (one,) = client.dump("vr_route_req", rtr_vrf_id=1, rtr_family=2)
    assert (one.rtr_mac, one.rtr_index) == (MAC, entry.index)
    other = MAC[:5] + b"\x77"
    assert refused(client, "vr_route_req", ADD, **route, rtr_mac=other) == errno.ENOENT
    client.request("vr_route_req", DEL, **mac)
    assert refused(client, "vr_route_req", GET, **mac) == errno.ENOENT
    assert refused(client, "vr_route_req", DEL, **mac) == errno.ENOENT


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (errno.ENOENT, {"rtr_nh_id": 99}),
        (errno.EINVAL, {"rtr_family": 3}),
        (errno.EINVAL, {"rtr_prefix": b"\x0a"}),
        (errno.EINVAL, {"rtr_prefix_len": 33}),
        (errno.EINVAL, {"rtr_vrf_id": 64}),
        (errno.EINVAL, {"rtr_vrf_id": -1}),
        (errno.EINVAL, {"rtr_rid": 1}),
        (errno.EINVAL, {"rtr_label_flags": 0x40}),
    ],
)
def test_routes_that_are_refused(
    client: Client, core: DpCore, number: int, fields: dict[str, Any]
) -> None:
    wanted: dict[str, Any] = {"rtr_vrf_id": 1, "rtr_family": 2, "rtr_prefix": bytes(4)}
    assert refused(client, "vr_route_req", ADD, **{**wanted, **fields}) == number
    assert list(core.inet.items()) == []
