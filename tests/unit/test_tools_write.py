# SPDX-License-Identifier: Apache-2.0
"""Writing by the tools: what lands in the tables, what is said, and that twice changes nothing."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network

import pytest
from tests.unit.fake_core import FakeInstance
from tests.unit.tools_fixtures import Tools, tools

from vrouter.dpcore.errors import BadValue, DeviceError
from vrouter.dpcore.names import Family, NhFlag, NhType, RouteFlag, VifFlag, VifType
from vrouter.dpcore.records import Member
from vrouter.tools import vif_write
from vrouter.tools.linkinfo import LinkInfo

__all__ = ["tools"]

VALID = NhFlag.VALID
MACS = "--smac 02:00:00:00:00:01 --dmac 02:00:00:00:00:02"
REWRITE = bytes.fromhex("0200000000020200000000010800")
TUNNEL = f"--type 3 --oif 2 {MACS} --sip 192.0.2.1 --dip 192.0.2.2"


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ("--type 1 --oif 1", {"type": NhType.RECEIVE, "oif": 1}),
        ("--type receive --oif 1 --vrf 3", {"type": NhType.RECEIVE, "vrf": 3}),
        (
            f"--type 2 --oif 5 {MACS}",
            {"type": NhType.ENCAP, "rewrite": REWRITE, "encap_family": 0x806},
        ),
        ("--type 2 --oif 5 --l2", {"family": Family.BRIDGE, "rewrite": b"", "flags": VALID}),
        (TUNNEL, {"flags": VALID | NhFlag.TUNNEL_GRE, "dip": IPv4Address("192.0.2.2")}),
        (f"{TUNNEL} --udp", {"flags": VALID | NhFlag.TUNNEL_UDP_MPLS, "rewrite": REWRITE}),
        (f"{TUNNEL} --udp --sport 1 --dport 2", {"flags": VALID | NhFlag.TUNNEL_UDP}),
        (f"{TUNNEL} --vxlan", {"flags": VALID | NhFlag.TUNNEL_VXLAN}),
        (
            f"{TUNNEL} --vxlan --l3_vxlan 2:0:0:0:0:9",
            {
                "flags": VALID | NhFlag.TUNNEL_VXLAN | NhFlag.L3_VXLAN,
                "rw_dst_mac": bytes.fromhex("020000000009"),
            },
        ),
        ("--type 4", {"type": NhType.RESOLVE}),
        ("--type 5", {"type": NhType.DISCARD}),
        (
            "--type 6 --l2 --cevpn --cni 11 --lbl 43 --cni 12 --lbl 44",
            {
                "flags": VALID | NhFlag.COMPOSITE_EVPN,
                "members": (Member(nh=11, label=43), Member(nh=12, label=44)),
            },
        ),
        (
            "--type 6 --l2 --cen --cni 11 --cni 12",
            {"flags": VALID | NhFlag.COMPOSITE_ENCAP, "members": (Member(nh=11), Member(nh=12))},
        ),
        ("--type 6 --l2 --cmc --cni 1", {"flags": VALID | NhFlag.MULTICAST}),
        ("--type 7 --vrf 2", {"family": Family.INET, "vrf": 2}),
        (
            "--type 7 --vrf 2 --vxlan --uucf",
            {
                "family": Family.BRIDGE,
                "flags": VALID | NhFlag.TUNNEL_VXLAN | NhFlag.UNKNOWN_UC_FLOOD,
            },
        ),
        ("--type 8 --l2", {"type": NhType.L2_RECEIVE, "family": Family.BRIDGE}),
    ],
)
def test_nh_create(tools: Tools, options: str, want: dict[str, object]) -> None:
    assert tools.out(f"nh --create 12 {options}").startswith("nh: created nexthop 12 (")
    nexthop = tools.core.nexthops.get(12)
    assert nexthop is not None
    assert {key: getattr(nexthop, key) for key in want} == want
    assert tools.out(f"nh --create 12 {options}").endswith("is so already; nothing changed\n")
    assert tools.out("nh --delete 12") == "nh: deleted nexthop 12\n"
    assert tools.out("nh --delete 12") == "nh: no nexthop 12; nothing changed\n"


def test_nh_create_says_what_will_be_dropped(tools: Tools) -> None:
    said = tools.out("nh --create 12 --type 6 --l2 --cevpn --cni 11 --cni 13 --lbl 7")
    assert "no --lbl for 11: such copies are dropped" in said


@pytest.mark.parametrize(("tool", "word"), [("mpls", "label"), ("vxlan", "vnid")])
def test_labels(tools: Tools, tool: str, word: str) -> None:
    for number in (44, 45):
        tools.out(f"nh --create {number} --type 5")
    assert tools.out(f"{tool} --create 42 --nh 44") == f"{tool}: created {word} 42 -> nexthop 44\n"
    assert "nothing changed" in tools.out(f"{tool} --create 42 --nh 44")
    assert tools.out(f"{tool} --create 42 --nh 45") == f"{tool}: changed {word} 42 -> nexthop 45\n"
    assert json.loads(tools.out(f"{tool} --dump --json")) == [{word: 42, "nh": 45}]
    assert json.loads(tools.out(f"{tool} --get 42 --json")) == {word: 42, "nh": 45}
    done = json.loads(tools.out(f"{tool} --delete 42 --json"))
    assert done == {"changed": True, "message": f"deleted {word} 42"}


def test_label_tables_as_upstream_prints_them(tools: Tools) -> None:
    tools.core.mpls[42], tools.core.vxlan[4] = 44, 16
    assert tools.out("mpls --dump") == (
        "MPLS Input Label Map\n\n   Label    NextHop\n-------------------\n      42        44\n"
    )
    assert tools.out("vxlan --get 4") == (
        "VXLAN Table\n\n VNID    NextHop\n----------------\n    4         16\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "mpls --create 42 --nh 9",
        "vxlan --create 42 --nh 9",
        "rt -c -v 1 -p 10.1.1.3 -l 32 -n 9",
        "rt -c -v 1 -f 1 -e 2:0:0:0:0:3 -n 9",
        "nh --create 8 --type 6 --cen --cni 0 --cni 9 --cni 9",
    ],
)
def test_a_nexthop_that_does_not_exist_yet_is_said(tools: Tools, line: str) -> None:
    out = tools.out(line)
    assert out.endswith(" (no nexthop 9 yet: such packets are dropped)\n"), out
    assert out.count("\n") == 1


def test_routes(tools: Tools) -> None:
    tools.out("nh --create 20 --type 5")
    tools.out("rt -c -v 1 -f 1 -e 2:0:0:0:0:3 -n 20 -t 100")
    tools.out("rt -c -v 1 -p 10.1.0.0 -l 16 -n 9 -F")
    made = "rt -c -v 1 -p 10.1.1.3 -l 32 -n 20 -t 100 -P -e 2:0:0:0:0:3"
    assert tools.out(made) == "rt: created 10.1.1.3/32 in VRF 1 -> nexthop 20\n"
    assert "nothing changed" in tools.out(made)
    route = tools.core.inet.get(1, IPv4Network("10.1.1.3/32"))
    assert route is not None and (route.label, route.bridge) == (100, 1)
    assert route.flags == RouteFlag.LABEL_VALID | RouteFlag.ARP_PROXY
    dump = tools.out("rt --dump 1").splitlines()
    assert dump[1] == "vRouter inet4 routing table 0/1/unicast" and len(dump) == 5
    assert dump[4].endswith("2:0:0:0:0:3(1)") and tools.out("rt -b -v 1").splitlines() == dump
    assert tools.out("rt --get 10.1.9.9 --vrf 1").startswith(
        "Match 10.1.9.9/32 in vRouter inet4 table 0/1/unicast\n\nFlags: L=Label Valid"
    )
    assert json.loads(tools.out("rt --get 10.1.9.9/32 --vrf 1 --json"))["match"]["nh"] == 9
    assert json.loads(tools.out("rt --get 10.9.9.9 --vrf 1 --json")) == {"match": None}
    assert tools.run("rt -d -v 1 -p 10.1.1.3 -l 32 -r 24")[0] == 3
    assert tools.out("rt -d -v 1 -p 10.1.1.3 -l 32 -r 16 -n 9") == (
        "rt: deleted 10.1.1.3/32 in VRF 1; 10.1.0.0/16 -> nexthop 9 takes over\n"
    )
    assert "nothing changed" in tools.out("rt -d -v 1 -p 10.1.1.3 -l 32")


def test_bridge_entries(tools: Tools) -> None:
    made = "rt -c -v 1 -f 1 -e ff:ff:ff:ff:ff:ff -n 32"
    assert tools.out(made).startswith("rt: created ff:ff:ff:ff:ff:ff in VRF 1 (index 1)")
    assert "nothing changed" in tools.out(made)
    assert tools.out("rt --dump 1 --family bridge").splitlines()[1] == "vRouter bridge table 0/1"
    found = json.loads(tools.out("rt --get ff:ff:ff:ff:ff:ff --vrf 1 --family bridge --json"))
    assert found["match"]["nh"] == 32 and found["match"]["label"] is None
    assert tools.out("rt -d -v 1 -f 1 -e ff:ff:ff:ff:ff:ff").startswith("rt: deleted")


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"lo": 1, "eth1": 2, "vhost0": 16, "vhost0i": 15, "tap1": 20}

    def link(name: str) -> LinkInfo:
        if name not in found:
            raise DeviceError(f"no device {name}")
        return LinkInfo(
            name=name, ifindex=found[name], mac=bytes.fromhex("020000000001"), mtu=1500, up=True,
            kind="veth", peer_elsewhere=name == "tap1", loopback=name == "lo",
        )  # fmt: skip

    monkeypatch.setattr(vif_write, "link", link)


@pytest.mark.usefixtures("devices")
def test_vif_add(tools: Tools) -> None:
    mac = "--mac 02:00:00:00:00:01"
    phys = f"vif --add eth1 {mac} --vrf 0 --type physical --vhost-phys"
    assert tools.out(phys) == "vif: added vif0/2 (eth1, Physical)\n"
    host = f"vif --add vhost0 {mac} --vrf 0 --type vhost --xconnect eth1"
    assert tools.out(host) == "vif: added vif0/16 (vhost0, Host)\n"
    vif = tools.core.vifs.get(16)
    assert vif is not None and (vif.ifindex, vif.os_ifindex, vif.xconnect) == (15, 16, 2)
    tap = f"vif --add tap1 {mac} --vrf 1 --type virtual --id 7 --policy"
    tools.out(tap)
    vif = tools.core.vifs.get(7)
    assert vif is not None and vif.peer and vif.flags == VifFlag.POLICY
    assert vif.type == VifType.VIRTUAL
    for line in (phys, host, tap):
        assert "nothing changed" in tools.out(line)
    code, _, err = tools.run(tap.replace("--id 7", "--id 8"))
    assert code == 3 and "tap1 is vif0/7 already" in err
    assert tools.out("vif --set tap1 --vrf 4") == "vif: changed vif0/7 (tap1): VRF 1 to 4\n"
    assert "nothing changed" in tools.out("vif --set 7 --vrf 4")
    allow = "vif --set 7 --allow 02:00:00:00:00:01,10.1.1.1 --allow 02:00:00:00:00:02"
    assert tools.out(allow).endswith("allowed 2 pairs of MAC and prefix\n")
    assert "nothing changed" in tools.out(allow)
    assert "trusted as dhcp and bridge" in tools.out("vif --set 7 --trust bridge,dhcp")
    shown = tools.out("vif --get 7")
    assert "Allowed:02:00:00:00:00:01 10.1.1.1/32\n" in shown
    assert "Allowed:02:00:00:00:00:02 no prefix\n" in shown and "Trusted:dhcp bridge\n" in shown
    one = json.loads(tools.out("vif --get 7 --json"))
    assert one["sources"][0] == {"mac": "02:00:00:00:00:01", "prefix": "10.1.1.1/32"}
    one = tools.out("vif --set 7 --allow 02:00:00:00:00:01,10.1.1.1/32")
    assert one.endswith("allowed 1 pair of MAC and prefix\n")
    assert tools.out("vif --set 7 --allow none").endswith("allowed none: nothing may speak\n")
    assert "Allowed:none\n" in tools.out("vif --get 7")
    assert "is not checked" in tools.out("vif --set 7 --allow any")
    assert "Allowed:" not in tools.out("vif --get 7")
    assert tools.out("vif --clear --id 7 --core 1") == (
        "vif: cleared the counters of vif0/7 on CPU 1; drops are not counted by CPU\n"
    )
    assert tools.out("vif --clear") == "vif: cleared the counters of 3 vifs\n"
    assert tools.out("vif --delete tap1") == "vif: deleted vif0/7 (tap1)\n"
    assert "nothing changed" in tools.out("vif --delete tap1")


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ("vhost0 --type vhost --xconnect eth1", 3, "no vif of that device; add the physical first"),
        ("vhost0 --type vhost --xconnect eth1,eth2", 3, "comes with a later release"),
        ("tap1 --type virtual --xconnect eth1", 2, "--xconnect goes with --type vhost"),
        ("tap1 --type virtual --transport pmd", 3, "there is no DPDK data plane"),
        ("lo --type virtual", 3, "lo is the loopback device"),
    ],
)
def test_vif_add_refused(tools: Tools, options: str, code: int, text: str) -> None:
    got, _, err = tools.run(f"vif --add {options} --mac 2:0:0:0:0:1 --vrf 0")
    assert got == code and text in err


@pytest.mark.usefixtures("devices")
def test_vif_add_again_keeps_what_it_does_not_speak_of(tools: Tools) -> None:
    kept = {"nh_id": 5, "ip": IPv4Address("10.1.1.1"), "qos": -1, "mcast_vrf": 3, "mtu": 1400}
    tools.core.add_vif(
        idx=20, name="tap1", type=VifType.VIRTUAL, ifindex=20, os_ifindex=20, peer=True, **kept
    )
    line = "vif --add tap1 --mac 02:00:00:00:00:01 --vrf 1 --type virtual --policy"
    assert tools.out(line) == "vif: changed vif0/20 (tap1, Virtual)\n"
    vif = tools.core.vifs.get(20)
    assert vif is not None and (vif.vrf, vif.flags) == (1, VifFlag.POLICY)
    assert {name: getattr(vif, name) for name in kept} == kept
    assert "nothing changed" in tools.out(line)


@pytest.mark.usefixtures("devices")
def test_vif_set_takes_zero_and_none(tools: Tools) -> None:
    tools.core.add_vif(
        idx=20, name="tap1", type=VifType.VIRTUAL, ifindex=20, os_ifindex=20, vrf=3, qos=2
    )
    assert tools.out("vif --set 20 --vrf 0") == "vif: changed vif0/20 (tap1): VRF 3 to 0\n"
    assert "QoS map 2 to 0" in tools.out("vif --set 20 --qos 0")
    assert "QoS map 0 to none" in tools.out("vif --set 20 --qos none")
    assert "nothing changed" in tools.out("vif --set 20 --trust none")
    vif = tools.core.vifs.get(20)
    assert vif is not None and (vif.vrf, vif.qos) == (0, -1)


@pytest.mark.usefixtures("devices")
def test_vif_add_again_keeps_the_cross_connect(tools: Tools) -> None:
    tools.core.add_vif(
        idx=16, name="vhost0", type=VifType.HOST, ifindex=15, os_ifindex=16, xconnect=2,
        flags=VifFlag.XCONNECT | VifFlag.L2 | VifFlag.L3,
    )  # fmt: skip
    tools.out("vif --add vhost0 --mac 02:00:00:00:00:01 --vrf 0 --type vhost --policy")
    vif = tools.core.vifs.get(16)
    assert vif is not None and vif.flags == VifFlag.XCONNECT | VifFlag.POLICY


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ("vhost0 --mac 02:00:00:00:00:01", 0, "device vhost0 exists already; nothing changed"),
        ("vhost0 --mac 02:00:00:00:00:02", 3, "vhost0 exists with MAC 02:00:00:00:00:01; change"),
        ("eth1 --mac 02:00:00:00:00:01", 3, "eth1 exists and is no vhost device; choose another"),
    ],
)
def test_vif_create_of_what_exists(
    tools: Tools, monkeypatch: pytest.MonkeyPatch, options: str, code: int, text: str
) -> None:
    monkeypatch.setattr("vrouter.host.vhost.create", lambda _mac, name: False)
    got, out, err = tools.run(f"vif --create {options}")
    assert got == code and text in out + err


def test_vif_by_ifindex(tools: Tools) -> None:
    tools.core.add_vif(idx=2, name="vhost0", type=VifType.HOST, ifindex=15, os_ifindex=16)
    for ifindex in (15, 16):
        found = json.loads(tools.out(f"vif --get {ifindex} --kernel --json"))
        assert found["name"] == "vhost0"
    tools.core.add_vif(idx=3, name="tap9", type=VifType.VIRTUAL, ifindex=90000, os_ifindex=90000)
    assert json.loads(tools.out("vif --get 90000 --kernel --json"))["name"] == "tap9"
    assert tools.run("vif --get 2 --kernel")[0] == 3
    assert tools.run("vif --get vhost0 --kernel")[0] == 2


def test_a_vrf_beyond_the_table_is_refused(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    def vrf(number: int) -> None:
        raise BadValue("vrf", number, "VRFs are 0 to 63")

    monkeypatch.setattr(tools.core.stats, "vrf", vrf)
    for line in ("rt --dump 64", "rt --dump 64 --family bridge", "rt --get 10.0.0.1 --vrf 64"):
        code, out, err = tools.run(line)
        assert (code, out, err) == (3, "", "rt: vrf cannot be 64: VRFs are 0 to 63\n")


def test_vrfstats_without_any(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.core.stats, "vrfs", lambda: iter(()))
    assert tools.out("vrfstats --dump") == "No VRF has seen a packet yet.\n"
    assert json.loads(tools.out("vrfstats --dump --json")) == []


def test_a_namespace_has_one_vrouter(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(FakeInstance):
        name = "other"

    monkeypatch.setattr("vrouter.dpcore.instance.all_instances", lambda: [Other()])
    monkeypatch.setattr("vrouter.dpcore.loader.probe", list)
    code, out, err = tools.run("vrouter load")
    assert (code, out) == (3, "")
    assert "this network namespace has vRouter 'other' already; use that, or run" in err


def test_dropstats_clear(tools: Tools) -> None:
    assert tools.out("dropstats --clear") == "dropstats: cleared all drop counters\n"
    assert "Discards                      0\n" in tools.out("dropstats")
