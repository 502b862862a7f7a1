# SPDX-License-Identifier: Apache-2.0
"""The stages of a host's bring-up, as an operator sees them in the lab `one-host`.

What must be seen is written out here from the listings of the system that we follow: names of
devices, who has which address, MAC, MTU, vif numbers, types, flags in their letters.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.helpers import unique
from vrouter.dpcore.errors import Refused, UsageError
from vrouter.host import netns
from vrouter.lab import build, node, topology
from vrouter.lab.topology import Lab

IP, MAC, MTU = "172.30.0.1", "02:00:00:00:00:01", 9001
PACKET_DEVICES = ("pkt1", "pkt2", "pkt3")
STATS = {
    f"vif0/{idx}": {
        "os": name,
        "Type": "Stats",
        "HWaddr": "00:00:00:00:00:00",
        "IPaddr": "0.0.0.0",
        "Vrf": "65535",
        "Mcast Vrf": "65535",
        "Flags": "L3L2",
        "QOS": "0",
        "Ref": "1",
    }
    for idx, name in ((4350, "pkt3"), (4351, "pkt1"))
}
_FIELDS = re.compile(r"(Type|HWaddr|IPaddr|Mcast Vrf|Vrf|Flags|QOS|Ref):(\S+)")
_COUNTERS = re.compile(r"(RX|TX) packets:(\d+)  bytes:(\d+) errors:(\d+)")


def run(lab: Lab, command: str, where: str = "h1") -> str:
    done = node.call(lab, where, command.split())
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def vifs(lab: Lab) -> dict[str, dict[str, str]]:
    """`vif --list`, taken apart as printed: the vifs' fields by the name of the vif."""
    head, _, body = run(lab, "vif --list").partition("\n\nvif0/")
    assert head.startswith("Vrouter Interface Table\n\nFlags: P=Policy, X=Cross Connect")
    assert head.count("\n") == 8, head
    found = {}
    for block in ("vif0/" + body).strip().split("\n\n"):
        first, _, rest = block.partition("\n")
        name, _, device = first.partition(" ")
        fields = dict(_FIELDS.findall(rest))
        fields["os"] = device.strip().removeprefix("OS: ")
        found[name] = fields
    return found


def counters(lab: Lab, *vif: int) -> list[dict[str, tuple[int, ...]]]:
    """RX and TX of the vifs as packets, bytes, errors, from one listing."""
    blocks = run(lab, "vif --list").split("\n\n")
    return [
        {
            way: tuple(map(int, numbers))
            for block in blocks
            if block.startswith(f"vif0/{one} ")
            for way, *numbers in _COUNTERS.findall(block)
        }
        for one in vif
    ]


def links(lab: Lab) -> dict[str, dict[str, Any]]:
    found = json.loads(run(lab, "ip -j link show"))
    return {link["ifname"]: link for link in found}


def addresses(lab: Lab, device: str) -> list[str]:
    found = json.loads(run(lab, f"ip -j address show dev {device}"))[0]["addr_info"]
    return [f"{one['local']}/{one['prefixlen']}" for one in found if one["scope"] == "global"]


def link_locals(lab: Lab, device: str) -> int:
    found = json.loads(run(lab, f"ip -j address show dev {device}"))[0]["addr_info"]
    return sum(one["family"] == "inet6" and one["scope"] == "link" for one in found)


@pytest.fixture
def one_host() -> Iterator[Lab]:
    lab = topology.plan("one-host", unique("o"), stage=1)
    yield build.up(lab, lambda line: None)
    build.down(lab.id, lambda line: None)


def stage_two(lab: Lab) -> None:
    """What stage 2 shows, whichever way it was reached."""
    device = links(lab)
    assert {name: device[name]["mtu"] for name in PACKET_DEVICES} == dict.fromkeys(
        PACKET_DEVICES, 65535
    )
    for name in (*PACKET_DEVICES, "vhost0", "eth0"):
        assert {"UP", "LOWER_UP"} <= set(device[name]["flags"]), name
    for name in ("vhost0", "eth0"):
        assert (device[name]["address"], device[name]["mtu"]) == (MAC, MTU)
    assert (addresses(lab, "eth0"), addresses(lab, "vhost0")) == ([], [f"{IP}/24"])
    assert (link_locals(lab, "eth0"), link_locals(lab, "vhost0")) == (1, 1)
    common = {"HWaddr": MAC, "IPaddr": "0.0.0.0", "Vrf": "0", "Mcast Vrf": "65535"}
    nic, host = (device[name]["ifindex"] for name in ("eth0", "vhost0"))
    assert vifs(lab) == {
        f"vif0/{nic}": {
            **common,
            "os": "eth0 (Speed 10000, Duplex 1)",
            "Type": "Physical",
            "Flags": "XTcL3L2Vp",
            "QOS": "0",
            "Ref": "1",
        },
        f"vif0/{host}": {
            **common,
            "os": "vhost0",
            "Type": "Host",
            "Flags": "XL3L2",
            "QOS": "0",
            "Ref": "1",
        },
        **STATS,
    }
    run(lab, "ping -c 3 -i 0.05 -W 2 172.30.0.2")
    run(lab, "ping -c 2 -i 0.05 -W 2 -M do -s 8972 172.30.0.2")
    run(lab, f"ping -c 2 -i 0.05 -W 2 {IP}", where="gw")
    for _ in range(20):  # IPv6 speaks by itself: a listing may fall between NIC and vhost0
        of_nic, of_host = counters(lab, nic, host)
        if (of_nic["RX"], of_nic["TX"]) == (of_host["TX"], of_host["RX"]):
            break
        time.sleep(0.1)
    assert (of_nic["RX"], of_nic["TX"]) == (of_host["TX"], of_host["RX"])
    assert of_nic["RX"][0] >= 7 and of_nic["RX"][1] > 2 * 8972


def test_stage_one_then_two(one_host: Lab) -> None:
    device = links(one_host)
    for name in PACKET_DEVICES:
        assert device[name]["operstate"] == "DOWN" and "UP" not in device[name]["flags"]
        assert device[name]["mtu"] == 65535
    assert "vhost0" not in device and "pkt0" not in device
    assert addresses(one_host, "eth0") == [f"{IP}/24"]
    assert vifs(one_host) == STATS
    run(one_host, "ping -c 1 -W 2 172.30.0.2")

    lab = build.up(topology.plan("one-host", one_host.id, stage=2), lambda line: None)

    assert lab.stage == 2 and build.is_whole(lab)
    stage_two(lab)
    with pytest.raises(Refused, match="take it down first"):
        build.up(topology.plan("one-host", one_host.id, stage=1), lambda line: None)


BY_HAND = f"""
vif --create vhost0 --mac {MAC}
vif --add eth0 --mac {MAC} --vrf 0 --type physical --vhost-phys
vif --add vhost0 --mac {MAC} --vrf 0 --type vhost --xconnect eth0
ip link set vhost0 mtu {MTU}
ip link set vhost0i mtu {MTU}
ip address delete {IP}/24 dev eth0
ip address add {IP}/24 dev vhost0
ip route add default via 172.30.0.2
"""


def test_by_hand_it_is_the_same(one_host: Lab) -> None:
    for line in BY_HAND.strip().splitlines():
        run(one_host, line)
    for name in PACKET_DEVICES:  # upstream's ifup script does so
        run(one_host, f"ip link set {name}r up")
        run(one_host, f"ip link set {name} up")
    stage_two(one_host)


HOST = f"vif --add vhost0 --mac {MAC} --vrf 0 --type vhost --xconnect eth0"
STEPS = BY_HAND.strip().splitlines()
WRONG_ORDER = (
    ((), HOST, "no device vhost0"),
    (STEPS[:1], HOST, "add the physical first"),
    (STEPS[:3], "vif --delete eth0", "carries vhost0"),
)


@pytest.mark.parametrize(("first", "wrong", "why"), WRONG_ORDER)
def test_the_wrong_order_is_refused(
    one_host: Lab, first: tuple[str, ...], wrong: str, why: str
) -> None:
    for line in first:
        run(one_host, line)
    before = vifs(one_host)
    refused = node.call(one_host, "h1", wrong.split())
    assert refused.returncode == 3  # refused
    assert refused.stdout.count("\n") == 1 and why in refused.stdout, refused.stdout
    assert vifs(one_host) == before


def test_a_physical_alone_is_not_tapped(one_host: Lab) -> None:
    """Its packets would have nowhere to go before vhost0 is there."""
    for line in BY_HAND.strip().splitlines()[:2]:
        run(one_host, line)
    run(one_host, "ping -c 3 -i 0.05 -W 2 172.30.0.2")


def test_options_of_the_other_lab_are_refused() -> None:
    with pytest.raises(UsageError, match="--stage"):
        topology.plan("two-hosts", "x", stage=1)
    with pytest.raises(UsageError, match="--encap"):
        topology.plan("one-host", "x", encap="vxlan")


def test_nothing_is_left_of_it() -> None:
    lab = build.up(topology.plan("one-host", unique("o")), lambda line: None)
    build.down(lab.id, lambda line: None)
    assert not [name for name in netns.names() if name.startswith(lab.id)]
