# SPDX-License-Identifier: Apache-2.0
"""DHCPv4, against scapy and dpkt."""

from __future__ import annotations

import dataclasses
from typing import Any

import dpkt
import msgspec
import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from tests.unit.services.rig import FABRIC, PORT1, ROUTER, VM1, VM3, Rig, only, results, same_sums

from vrouter.agent.desired.records import Network, Subnet
from vrouter.agent.services.wire import dhcp4

OFFER, ACK, NAK = 2, 5, 6
ASKED = [1, 3, 6, 12, 15, 26, 42, 121]


def chaddr(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def message(kind: Any, *options: Any, mac: str = VM1, **bootp: Any) -> Any:
    src = bootp.get("ciaddr", "0.0.0.0")
    dst = bootp.pop("to", "255.255.255.255")
    head = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(src=src, dst=dst)
    kinds = [("message-type", kind)] if kind else []
    fields = {"op": 1, "chaddr": chaddr(mac), "xid": 0x1234, **bootp}
    return (
        head / UDP(sport=68, dport=67) / BOOTP(**fields) / DHCP(options=[*kinds, *options, "end"])
    )


def asked(*codes: int) -> Any:
    return ("param_req_list", list(codes))


def told(frame: Any) -> dict[int, bytes]:
    """The options by code, in their order, read by dpkt."""
    data = bytes(frame[UDP].payload)
    return {code: bytes(value) for code, value in dpkt.dhcp.DHCP(data).opts}


def test_an_offer() -> None:
    actions = Rig().send(message("discover", asked(*ASKED)))
    sent = only(actions)
    assert results(actions) == ["dhcp: offered"]
    assert same_sums(sent)
    assert (sent.src, sent.dst) == (ROUTER, VM1)
    assert (sent[IP].src, sent[IP].dst) == ("10.1.1.1", "10.1.1.10")
    assert (sent[UDP].sport, sent[UDP].dport) == (67, 68)
    bootp = sent[BOOTP]
    assert (bootp.op, bootp.xid, bootp.yiaddr, bootp.ciaddr) == (2, 0x1234, "10.1.1.10", "0.0.0.0")
    assert bootp.chaddr[:6] == chaddr(VM1)
    options = told(sent)
    assert options[53] == b"\x02"
    assert options[54] == bytes((10, 1, 1, 1))
    assert [int.from_bytes(options[code], "big") for code in (51, 58, 59)] == [3600, 1800, 3150]
    assert options[1] == bytes((255, 255, 255, 0))
    assert options[3] == bytes((10, 1, 1, 1))
    assert options[6] == bytes((10, 1, 1, 2))
    assert options[12] == b"vm1"
    assert options[15] == b"red.example"
    assert options[26] == (1400).to_bytes(2, "big")
    assert options[42] == bytes((10, 1, 1, 5))
    # RFC 3442: 10.9.0.0/16 by 10.1.1.7, and the default route
    assert options[121] == bytes((16, 10, 9, 10, 1, 1, 7, 0, 10, 1, 1, 1))


def test_options_come_in_the_order_in_which_they_are_asked_for() -> None:
    options = told(only(Rig().send(message("discover", asked(15, 121, 3, 1, 200)))))
    assert [one for one in options if one not in (53, 54, 51, 58, 59)] == [15, 121, 3, 1]
    everything = told(only(Rig().send(message("discover"))))
    order = list(everything)
    assert set(order) == {53, 54, 51, 58, 59, *ASKED}
    assert order.index(121) < order.index(3)


@pytest.mark.parametrize(
    ("options", "bootp", "kind", "dst", "mac"),
    [
        # SELECTING
        ([("server_id", "10.1.1.1"), ("requested_addr", "10.1.1.10")], {}, ACK, "10.1.1.10", VM1),
        ([("server_id", "10.1.1.1"), ("requested_addr", "10.1.1.9")], {}, NAK, "all", "all"),
        # INIT-REBOOT
        ([("requested_addr", "10.1.1.10")], {}, ACK, "10.1.1.10", VM1),
        ([("requested_addr", "192.168.0.3")], {}, NAK, "all", "all"),
        # RENEWING, REBINDING
        ([], {"ciaddr": "10.1.1.10", "to": "10.1.1.1"}, ACK, "10.1.1.10", VM1),
        ([], {"ciaddr": "10.1.1.10"}, ACK, "10.1.1.10", VM1),
        ([], {"ciaddr": "10.1.1.9"}, NAK, "all", "all"),
        # a client that cannot take unicast yet says so; once it has an address it can
        ([("requested_addr", "10.1.1.10")], {"flags": 0x8000}, ACK, "all", "all"),
        ([], {"ciaddr": "10.1.1.10", "flags": 0x8000}, ACK, "10.1.1.10", VM1),
        # by a relay
        ([("requested_addr", "10.1.1.10")], {"giaddr": "10.1.1.8"}, ACK, "10.1.1.8", VM1),
        ([("requested_addr", "10.1.1.9")], {"giaddr": "10.1.1.8"}, NAK, "10.1.1.8", VM1),
    ],
)
def test_requests(options: Any, bootp: Any, kind: int, dst: str, mac: str) -> None:
    actions = Rig().send(message("request", *options, **bootp))
    sent = only(actions)
    assert same_sums(sent)
    assert sent[IP].dst == ("255.255.255.255" if dst == "all" else dst)
    assert sent.dst == ("ff:ff:ff:ff:ff:ff" if mac == "all" else mac)
    assert sent[UDP].dport == (67 if "giaddr" in bootp else 68)
    assert told(sent)[53] == bytes((kind,))
    assert told(sent)[54] == bytes((10, 1, 1, 1))
    assert sent[BOOTP].yiaddr == ("10.1.1.10" if kind == ACK else "0.0.0.0")
    if kind == NAK:
        assert set(told(sent)) == {53, 54, 56}
        assert bool(sent[BOOTP].flags & 0x8000) == ("giaddr" in bootp)
        assert results(actions) == ["dhcp: refused"]
    else:
        assert sent[BOOTP].ciaddr == bootp.get("ciaddr", "0.0.0.0")
        assert results(actions) == ["dhcp: acknowledged"]


def test_inform_has_no_lease() -> None:
    packet = message("inform", asked(1, 6), ciaddr="10.1.1.10")
    sent = only(Rig().send(packet))
    assert (sent[IP].dst, sent[BOOTP].yiaddr) == ("10.1.1.10", "0.0.0.0")
    assert set(told(sent)) == {53, 54, 1, 6}


@pytest.mark.parametrize(
    ("packet", "how", "result"),
    [
        (message("discover", mac="02:00:00:00:00:99"), {}, "unknown client"),
        (message("discover"), {"vif": FABRIC}, "from the fabric"),
        (
            message("request", ("server_id", "10.1.1.77"), ("requested_addr", "10.1.1.10")),
            {},
            "for another server",
        ),
        (message("request"), {}, "no address asked for"),
        (message("inform", ciaddr="10.1.1.44"), {}, "unknown client"),
        (message("release", ciaddr="10.1.1.10"), {}, "released"),
        (message("decline", ("requested_addr", "10.1.1.9")), {}, "declined another address"),
        (message("discover", op=2), {}, "not a request"),
        (message("discover", htype=6), {}, "dhcp hardware"),
        (message("discover", hlen=16), {}, "dhcp hardware"),
        (message("offer"), {}, "dhcp message type"),
        (message(None), {}, "dhcp message type"),
        (message("discover", options=b"\0\0\0\0"), {}, "dhcp cookie"),
        (message("request", (50, b"\x0a\x01")), {}, "dhcp option length"),
        (message("discover", (52, b"\x09")), {}, "dhcp overload"),
    ],
)
def test_silence(packet: Any, how: Any, result: str) -> None:
    actions = Rig().send(packet, **how)
    assert results(actions) == [f"dhcp: {result}"]
    assert len(actions) == 1


def test_a_declined_address_is_shown() -> None:
    rig = Rig()
    for now in (5.0, 9.0):
        packet = message("decline", ("requested_addr", "10.1.1.10"), ("server_id", "10.1.1.1"))
        assert results(rig.send(packet, now=now)) == ["dhcp: declined"]
    shown = rig.get("dhcp").declined[1]
    assert (str(shown.address), shown.times, shown.last) == ("10.1.1.10", 2, 9.0)
    assert rig.remembered("dhcp", 10.0) == [
        {"vif": 1, "declined": "10.1.1.10", "times": 2, "seconds_ago": 1.0}
    ]
    del rig.world.live[1]
    rig.tick(10.0)
    assert not rig.get("dhcp").declined


def raw_dhcp(area: bytes, sname: bytes = b"", file: bytes = b"") -> Any:
    bootp = BOOTP(op=1, chaddr=chaddr(VM1), xid=1, sname=sname, file=file, options=b"c\x82Sc")
    head = Ether(src=VM1, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    return head / UDP(sport=68, dport=67) / bootp / Raw(area)


def test_overload_and_long_options() -> None:
    """RFC 3396: an option in parts, some of them in `file` and `sname`."""
    area = bytes((53, 1, 1, 52, 1, 3, 55, 1, 15, 255))
    packet = raw_dhcp(area, sname=bytes((55, 1, 3, 255)), file=bytes((55, 1, 1, 255)))
    options = told(only(Rig().send(packet)))
    assert [one for one in options if one not in (53, 54, 51, 58, 59)] == [15, 1, 3]
    long = dhcp4.option(61, bytes(range(256)) * 2)
    assert long[:2] == bytes((61, 255)) and long[257:259] == bytes((61, 255))
    read = dhcp4.read(bytes(raw_dhcp(bytes((53, 1, 1)) + long + b"\xff")[BOOTP]))
    assert read.options[61] == bytes(range(256)) * 2


def test_cut_short_options() -> None:
    assert results(Rig().send(raw_dhcp(bytes((53, 1, 1, 55, 9, 1))))) == [
        "dhcp: dhcp option cut short"
    ]


def test_client_id_and_relay_information_come_back() -> None:
    packet = message("discover", ("client_id", b"\x01abc"), (82, b"\x01\x02xy"), asked(1))
    options = told(only(Rig().send(packet)))
    assert (options[61], options[82]) == (b"\x01abc", b"\x01\x02xy")
    assert list(options)[-1] == 82, "RFC 3046, section 2.2"


def test_an_answer_keeps_to_the_clients_room() -> None:
    hops = tuple(
        msgspec.convert({"prefix": f"10.{n}.0.0/16", "next_hop": "10.1.1.7"}, type=type(HOP))
        for n in range(2, 90)
    )
    subnet = msgspec.structs.replace(PORT1.network.subnets[0], host_routes=hops)
    network = msgspec.structs.replace(PORT1.network, subnets=(subnet,))
    rig = Rig()
    rig.world.live[1] = dataclasses.replace(PORT1, network=network)
    small = only(rig.send(message("discover", asked(121, 1, 3))))
    assert 121 not in told(small) and {1, 3} <= set(told(small))
    assert len(bytes(small[IP])) <= 576
    big = only(rig.send(message("discover", ("max_dhcp_size", 1400), asked(121, 1, 3))))
    assert len(bytes(big[IP])) <= 1400
    data = bytes(big[UDP].payload)
    assert len(dhcp4.read(data).options[121]) == 88 * 7 + 5


HOP = PORT1.network.subnets[0].host_routes[0]


def test_subnets_without_gateway() -> None:
    """169.254.169.254 answers, which hosts take for one of their link."""
    rig = Rig()
    sent = only(rig.send(message("discover", asked(1, 3, 6), mac=VM3), vif=3), 3)
    assert sent[IP].src == "169.254.169.254"
    assert told(sent)[54] == bytes((169, 254, 169, 254))
    assert 3 not in told(sent)
    assert told(sent)[6] == bytes((9, 9, 9, 9))


def test_the_narrowest_subnet_is_the_ports() -> None:
    wide = Subnet(prefix="10.0.0.0/8", gateway="10.0.0.1")
    rig = Rig()
    network = msgspec.structs.replace(PORT1.network, subnets=(wide, *PORT1.network.subnets))
    rig.world.live[1] = dataclasses.replace(PORT1, network=network)
    assert told(only(rig.send(message("discover"))))[1] == bytes((255, 255, 255, 0))


def test_no_answer_where_none_is_wanted() -> None:
    rig = Rig()
    off = Network(name="red", subnets=(Subnet(prefix="10.1.1.0/24", dhcp=False),))
    rig.world.live[1] = dataclasses.replace(PORT1, network=off)
    assert results(rig.send(message("discover"))) == ["dhcp: no dhcp in the subnet"]
    bare = msgspec.structs.replace(PORT1.interface, addresses=("fd00:1::a",))
    rig.world.live[1] = dataclasses.replace(PORT1, interface=bare)
    assert results(rig.send(message("discover"))) == ["dhcp: no address"]
