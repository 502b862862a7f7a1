# SPDX-License-Identifier: Apache-2.0
"""Output of the tools: upstream's, byte for byte where it is known."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tools_fixtures import Tools, tools

from vrouter.dpcore.names import BridgeFlag, Family, NhFlag, NhType, RouteFlag, VifFlag, VifType
from vrouter.dpcore.object import known_abi
from vrouter.dpcore.records import BridgeEntry, Member, Nexthop, Route, Vif, VifStats
from vrouter.tools import render_nh, render_rt, render_vif
from vrouter.tools.vrouter_limits import Limit
from vrouter.tools.words import NOT_LOST

__all__ = ["tools"]

GOLDEN = Path(__file__).parent / "golden"
NIC_MAC = bytes.fromhex("066c0bc8dd64")
STATS_FLAGS = VifFlag.L2 | VifFlag.L3


def vif_view(vif: Vif, rx: tuple[int, int], tx: tuple[int, int], **more: Any) -> str:
    stats = VifStats(rx_packets=rx[0], rx_bytes=rx[1], tx_packets=tx[0], tx_bytes=tx[1])
    view = render_vif.VifView(vif=vif, stats=stats, **more)
    return "".join(f"{line}\n" for line in render_vif.entry_lines(view)) + "\n"


def packet_vifs() -> str:
    text = ""
    for idx, name in ((4350, "pkt3"), (4351, "pkt1")):
        vif = Vif(
            idx=idx, name=name, type=VifType.STATS, ifindex=9, os_ifindex=9, vrf=65535,
            flags=STATS_FLAGS,
        )  # fmt: skip
        text += vif_view(vif, (0, 0), (0, 0))
    return text


def nic(**more: Any) -> Vif:
    fields: dict[str, Any] = {"idx": 2, "flags": VifFlag.XCONNECT | VifFlag.TX_CSUM | STATS_FLAGS}
    fields |= more
    fields["flags"] |= VifFlag.VHOST_PHYS
    return Vif(
        name="ens3", type=VifType.PHYSICAL, ifindex=2, os_ifindex=2, mac=NIC_MAC, **fields
    )  # fmt: skip


def test_vif_list_of_stage_1() -> None:
    text = render_vif.HEADING + "\n" + packet_vifs()
    assert text == (GOLDEN / "vif_list_stage1.txt").read_text()


def test_vif_list_of_stage_2() -> None:
    host = Vif(
        idx=16, name="vhost0", type=VifType.HOST, ifindex=17, os_ifindex=16, mac=NIC_MAC,
        flags=VifFlag.XCONNECT | STATS_FLAGS,
    )  # fmt: skip
    text = (
        render_vif.HEADING
        + "\n"
        + vif_view(nic(), (54, 13325), (39, 4452), link=(10000, 1))
        + vif_view(host, (39, 4452), (54, 13325))
        + packet_vifs()
    )
    assert text == (GOLDEN / "vif_list_stage2.txt").read_text()


def test_vif_list_of_stage_3() -> None:
    flags = VifFlag.TX_CSUM | STATS_FLAGS | VifFlag.ETREE_ROOT
    host = Vif(
        idx=1, name="vhost0", type=VifType.HOST, ifindex=17, os_ifindex=16, mac=NIC_MAC, nh_id=5,
        ip=IPv4Address("172.31.12.55"), qos=-1,
        flags=VifFlag.POLICY | VifFlag.L3 | VifFlag.DHCP | VifFlag.ETREE_ROOT,
    )  # fmt: skip
    agent = Vif(
        idx=2, name="pkt0", type=VifType.AGENT, ifindex=17, os_ifindex=17, vrf=65535, qos=-1,
        mac=bytes.fromhex("00005e000100"), flags=VifFlag.L3 | VifFlag.ETREE_ROOT,
    )  # fmt: skip
    text = (
        render_vif.HEADING
        + "\n"
        + vif_view(
            nic(idx=0, flags=flags, nh_id=4, qos=-1), (165, 97837), (156, 124911),
            link=(10000, 1), ref=7,
        )
        + vif_view(host, (159, 125878), (192, 98971), ref=8, drops={1: 7, 35: 5, 45: 1})
        + vif_view(agent, (31, 2666), (34, 13535), ref=3)
        + packet_vifs()
    )  # fmt: skip
    assert text == (GOLDEN / "vif_list_stage3.txt").read_text()


def test_vif_list_of_the_tool_is_the_same_text(tools: Tools) -> None:
    for idx, name in ((4351, "pkt1"), (4350, "pkt3")):
        tools.core.add_vif(idx=idx, name=name, type=VifType.STATS, vrf=65535, flags=STATS_FLAGS)
    golden = (GOLDEN / "vif_list_stage1.txt").read_text()
    out = tools.out("vif --list")
    assert out == golden.replace("RX packets:0", "RX packets:4350", 1).replace(
        "RX packets:0", "RX packets:4351", 1
    )
    assert tools.out("vif --get pkt1") == tools.out("vif --get 4351")
    entry = json.loads(tools.out("vif --get vif0/4351 --json"))
    assert entry["id"] == 4351 and entry["flags"] == ["L3", "L2"] and entry["drops"] == 0


def test_drops_of_a_vif_leave_out_originals_of_copies(tools: Tools) -> None:
    tools.core.add_vif(idx=3, name="tap1", type=VifType.VIRTUAL)
    tools.core.vifs.lost = {int(reason): 9 for reason in NOT_LOST} | {20: 4, 64: 1}
    assert "            Drops:5\n" in tools.out("vif --get 3")
    shown = tools.out("vif --get 3 --get-drop-stats")
    assert "Invalid NH                    4\n" in shown
    assert "Cloned Original               9\n" in shown


NEXTHOPS = [
    (
        Nexthop(id=0, type=NhType.DISCARD),
        1,
        [
            "Id:0          Type:Drop           Fmly: AF_INET  Rid:0  Ref_cnt:1          Vrf:0",
            "              Flags:Valid, ",
        ],
    ),
    (
        Nexthop(
            id=23,
            type=NhType.ENCAP,
            flags=NhFlag.VALID | NhFlag.POLICY | NhFlag.ETREE_ROOT,
            oif=3,
            encap_family=0x0806,
            rewrite=bytes.fromhex("0288670c2e1100005e0001000800"),
        ),
        2,
        [
            "Id:23         Type:Encap          Fmly: AF_INET  Rid:0  Ref_cnt:2          Vrf:0",
            "              Flags:Valid, Policy, Etree Root, ",
            "              EncapFmly:0806 Oif:3 Len:14",
            "              Encap Data: 02 88 67 0c 2e 11 00 00 5e 00 01 00 08 00",
        ],
    ),
    (
        Nexthop(
            id=47,
            type=NhType.ENCAP,
            family=Family.BRIDGE,
            oif=4,
            rewrite=bytes.fromhex("deadbeef0102deadbeef00010800"),
        ),
        13,
        [
            "Id:47         Type:Encap          Fmly:AF_BRIDGE  Rid:0  Ref_cnt:13         Vrf:0",
            "              Flags:Valid, ",
            "              EncapFmly:0000 Oif:4 Len:14",
            "              Encap Data: de ad be ef 01 02 de ad be ef 00 01 08 00",
        ],
    ),
    (
        Nexthop(
            id=50,
            type=NhType.TUNNEL,
            flags=NhFlag.VALID | NhFlag.TUNNEL_GRE,
            oif=0,
            sip=IPv4Address("10.1.1.1"),
            dip=IPv4Address("20.1.1.1"),
            rewrite=bytes.fromhex("08e2ba844888001b21bbf9460800"),
        ),
        2,
        [
            "Id:50         Type:Tunnel         Fmly: AF_INET  Rid:0  Ref_cnt:2          Vrf:0",
            "              Flags:Valid, MPLSoGRE, ",
            "              Oif:0 Len:14 Data:08 e2 ba 84 48 88 00 1b 21 bb f9 46 08 00",
            "              Sip:10.1.1.1 Dip:20.1.1.1",
        ],
    ),
    (
        Nexthop(
            id=51,
            type=NhType.COMPOSITE,
            flags=NhFlag.VALID | NhFlag.COMPOSITE_EVPN,
            members=(Member(nh=11, label=43), Member(nh=12, label=5), Member(nh=13)),
        ),
        1,
        [
            "Id:51         Type:Composite      Fmly: AF_INET  Rid:0  Ref_cnt:1          Vrf:0",
            "              Flags:Valid, Evpn, ",
            "              Sub NH(label): 11(43) 12(5) 13",
        ],
    ),
]


@pytest.mark.parametrize(("nexthop", "refs", "lines"), NEXTHOPS)
def test_nexthop_text(nexthop: Nexthop, refs: int, lines: list[str]) -> None:
    assert list(render_nh.entry_lines(nexthop, refs)) == lines


def test_member_list_breaks() -> None:
    members = tuple(Member(nh=1000 + n, label=100000 + n) for n in range(12))
    nexthop = Nexthop(id=9, type=NhType.COMPOSITE, members=members)
    lines = list(render_nh.entry_lines(nexthop, 1))
    assert len(lines) == 5 and all(len(line) < 100 for line in lines)


def test_route_columns() -> None:
    def line(prefix: str, nh: int, **more: Any) -> str:
        route = Route(vrf=0, prefix=IPv4Network(prefix), nh=nh, **more)
        return render_rt.inet_line(route, lambda index: bytes.fromhex("525400f426a1"))

    proxy_trap = RouteFlag.ARP_PROXY | RouteFlag.ARP_TRAP
    labelled = RouteFlag.LABEL_VALID | RouteFlag.ARP_PROXY
    assert line("105.105.105.1/32", 13, flags=proxy_trap) == (
        "105.105.105.1/32       32           PT          -             13        -"
    )
    assert line("115.115.115.4/32", 25, flags=proxy_trap, bridge=178584) == (
        "115.115.115.4/32       32           PT          -             25        "
        "52:54:0:f4:26:a1(178584)"
    )
    assert line("100.34.34.3/32", 29, flags=labelled, label=65) == (
        "100.34.34.3/32         32           LP         65             29        -"
    )
    assert render_rt.no_route_line(IPv4Network("0.1.0.0/16")) == (
        "0.1.0.0/16              0                       -              0        -"
    )


def test_bridge_columns() -> None:
    mac = bytes.fromhex("02e703ea67f1")
    flags = BridgeFlag.VALID | BridgeFlag.LABEL_VALID | BridgeFlag.FLOOD_DHCP
    entry = BridgeEntry(vrf=5, mac=mac, nh=21, label=27, flags=flags, index=92304, packets=1)
    assert render_rt.bridge_line(entry) == (
        "92304       2:e7:3:ea:67:f1            LDf                   27           21"
        "               1"
    )


def test_dropstats(tools: Tools) -> None:
    out = tools.out("dropstats")
    assert out.startswith("Invalid IF                    0\nTrap No IF                    0\n")
    assert "\n\nDiscards                      3\n" in out
    assert out.endswith("\n\nCloned Original               7\n")
    assert tools.out("dropstats --debug") == "Cloned Original               7\n"
    assert tools.out("dropstats --core 1").startswith("Statistics for core 1\n\n")
    drops = json.loads(tools.out("dropstats --json"))["drops"]
    assert {one["reason"] for one in drops} == {*range(1, 55), *range(64, 68)}
    assert {"reason": 1, "name": "DISCARD", "label": "Discards", "packets": 3} in drops


def test_vrfstats(tools: Tools) -> None:
    out = tools.out("vrfstats --get 3").splitlines()
    assert out[0] == "Vrf: 3" and out[-1] == ""
    assert out[3].startswith("Udp Tunnels 0, Udp Mpls Tunnels 0, Gre Mpls Tunnels 0, Vxlan Tu")
    assert tools.out("vrfstats --dump").count("Vrf:") == 1
    assert json.loads(tools.out("vrfstats --get 3 --json"))["vxlan_tunnels"] == 3


def test_info_and_status(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    from vrouter.tools import vrouter_status

    kernel: dict[str, object] = {"release": "6.12.0", "features": ["JIT"], "lacks": []}
    monkeypatch.setattr(vrouter_status, "kernel", lambda: kernel)
    monkeypatch.setattr(vrouter_status, "stale", lambda _: [{"what": "a link", "command": "do it"}])
    limit = Limit("net.x", "1", "it is slow", "sysctl -w net.x=2")
    monkeypatch.setattr(vrouter_status, "limits", lambda _: [limit])
    info = tools.out("vrouter --info")
    assert "Startup parameters:" in info and "Runtime parameters:" in info
    assert "Nexthops                    1/4096\n" in info
    assert json.loads(tools.out("vrouter --info --json"))["tables"]["routes"]["limit"] == 16384
    status = tools.out("vrouter status")
    assert "agent       none\n" in status and "namespace   here" in status
    assert "  net.x is 1: it is slow\n    sysctl -w net.x=2\n" in status
    assert "  a link\n    do it\n" in status
    assert "in use      JIT\n" in status
    assert f"tables of version {known_abi()}" in status and "tools " not in status
    told = json.loads(tools.out("vrouter status --json"))
    assert told["agent"] is None
    assert told["limits"][0]["command"] == "sysctl -w net.x=2"


def test_status_of_another_release(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    from vrouter.tools import vrouter_status

    monkeypatch.setattr(vrouter_status, "stale", lambda _: [])
    monkeypatch.setattr(vrouter_status, "limits", lambda _: [])
    monkeypatch.setattr(vrouter_status, "__version__", "0.9.0")
    assert "tools       0.9.0: another release, which knows these" in tools.out("vrouter status")
    monkeypatch.setattr(vrouter_status, "known_abi", lambda: 7)
    status = tools.out("vrouter status")
    assert "0.9.0, for tables of version 7: they refuse" in status and "`vrouter load`" in status
