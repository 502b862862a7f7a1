# SPDX-License-Identifier: Apache-2.0
"""DHCPv6, against scapy."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from scapy.layers import dhcp6 as d
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from tests.unit.services.rig import (
    BLUE,
    FABRIC,
    PORT3,
    ROUTER,
    ROUTER_LL,
    VM1,
    VM1_LL,
    VM3,
    Rig,
    only,
    results,
    same_sums,
)

SERVER = d.DUID_LL(lladdr=ROUTER, hwtype=1)
CLIENT = d.DHCP6OptClientId(duid=d.DUID_LL(lladdr=VM1))
FOR_US = d.DHCP6OptServerId(duid=SERVER)
FOR_OTHER = d.DHCP6OptServerId(duid=d.DUID_LL(lladdr="02:00:00:00:00:99"))
ORO = d.DHCP6OptOptReq(reqopts=[23, 24, 31, 32, 56])


def ia(*addresses: str, iaid: int = 7) -> Any:
    inner = [d.DHCP6OptIAAddress(addr=one, preflft=1, validlft=1) for one in addresses]
    return d.DHCP6OptIA_NA(iaid=iaid, T1=0, T2=0, ianaopts=inner)


def wrapped(data: bytes) -> Any:
    head = Ether(src=VM1, dst="33:33:00:01:00:02") / IPv6(src=VM1_LL, dst="ff02::1:2")
    return head / UDP(sport=546, dport=547) / Raw(data)


def message(kind: Any, *options: Any, src: str = VM1_LL, mac: str = VM1, **ip: Any) -> Any:
    head = Ether(src=mac, dst="33:33:00:01:00:02") / IPv6(src=src, dst="ff02::1:2", **ip)
    packet = head / UDP(sport=546, dport=547) / kind(trid=0xABCDEF)
    for one in options:
        packet /= one
    return packet


def statuses(layer: Any) -> list[int]:
    return [one.statuscode for one in layer.ianaopts if isinstance(one, d.DHCP6OptStatusCode)]


def addresses(frame: Any) -> dict[str, int]:
    """Those in the first IA_NA, with their valid lifetimes."""
    inner = frame[d.DHCP6OptIA_NA].ianaopts
    return {one.addr: one.validlft for one in inner if isinstance(one, d.DHCP6OptIAAddress)}


def status(frame: Any) -> int:
    """The one that is about the message as a whole."""
    return int(frame[d.DHCP6OptStatusCode].statuscode)


def check(sent: Any) -> None:
    assert same_sums(sent)
    assert (sent.src, sent.dst) == (ROUTER, VM1)
    assert (sent[IPv6].src, sent[IPv6].dst) == (ROUTER_LL, VM1_LL)
    assert (sent[UDP].sport, sent[UDP].dport) == (547, 546)
    assert bytes(sent[d.DHCP6OptServerId].duid) == bytes(SERVER)
    assert sent[UDP].payload.trid == 0xABCDEF


def test_solicit_is_advertised_to() -> None:
    actions = Rig().send(message(d.DHCP6_Solicit, CLIENT, ia(), ORO))
    sent = only(actions)
    check(sent)
    assert d.DHCP6_Advertise in sent
    assert addresses(sent) == {"fd00:1::a": 3600}
    held = sent[d.DHCP6OptIA_NA]
    assert (held.iaid, held.T1, held.T2) == (7, 1800, 2880)
    assert bytes(sent[d.DHCP6OptClientId].duid) == bytes(CLIENT.duid)
    assert sent[d.DHCP6OptDNSServers].dnsservers == ["fd00:1::1"]
    assert sent[d.DHCP6OptDNSDomains].dnsdomains == ["red.example."]
    assert sent[d.DHCP6OptSNTPServers].sntpservers == ["fd00:1::5"]
    assert sent[d.DHCP6OptPref].prefval == 255
    assert results(actions) == ["dhcp6: advertised"]


def test_rapid_commit() -> None:
    sent = only(Rig().send(message(d.DHCP6_Solicit, CLIENT, d.DHCP6OptRapidCommit(), ia())))
    assert d.DHCP6_Reply in sent and d.DHCP6OptRapidCommit in sent
    assert addresses(sent) == {"fd00:1::a": 3600}
    assert d.DHCP6OptDNSServers not in sent, "it was not asked for"


@pytest.mark.parametrize(
    ("packet", "held"),
    [
        (message(d.DHCP6_Request, CLIENT, FOR_US, ia("fd00:1::a")), {"fd00:1::a": 3600}),
        (message(d.DHCP6_Renew, CLIENT, FOR_US, ia("fd00:1::a")), {"fd00:1::a": 3600}),
        (message(d.DHCP6_Rebind, CLIENT, ia("fd00:1::a")), {"fd00:1::a": 3600}),
        (
            message(d.DHCP6_Renew, CLIENT, FOR_US, ia("fd00:1::77")),
            {"fd00:1::a": 3600, "fd00:1::77": 0},
        ),
    ],
)
def test_replies(packet: Any, held: dict[str, int]) -> None:
    sent = only(Rig().send(packet))
    check(sent)
    assert d.DHCP6_Reply in sent
    assert addresses(sent) == held


def test_one_address_for_a_port() -> None:
    pd = d.DHCP6OptIA_PD(iaid=9)
    sent = only(Rig().send(message(d.DHCP6_Request, CLIENT, FOR_US, ia(), ia(iaid=8), pd)))
    first = sent[d.DHCP6OptIA_NA]
    second = first.payload[d.DHCP6OptIA_NA]
    assert (first.iaid, statuses(first)) == (7, [])
    assert (second.iaid, statuses(second)) == (8, [2])
    (refusal,) = sent[d.DHCP6OptIA_PD].iapdopt
    assert (sent[d.DHCP6OptIA_PD].iaid, refusal.statuscode) == (9, 6)


@pytest.mark.parametrize(
    ("packet", "code", "result"),
    [
        (message(d.DHCP6_Confirm, CLIENT, ia("fd00:1::a")), 0, "confirmed"),
        (message(d.DHCP6_Confirm, CLIENT, ia("fd00:1::a", "fd00:9::1")), 4, "not on link"),
        (message(d.DHCP6_Release, CLIENT, FOR_US, ia("fd00:1::a")), 0, "released"),
        (message(d.DHCP6_Decline, CLIENT, FOR_US, ia("fd00:1::a")), 0, "declined"),
    ],
)
def test_statuses(packet: Any, code: int, result: str) -> None:
    actions = Rig().send(packet)
    sent = only(actions)
    check(sent)
    assert status(sent) == code
    assert d.DHCP6OptIA_NA not in sent
    assert results(actions) == [f"dhcp6: {result}"]


def test_release_of_somebody_elses() -> None:
    sent = only(Rig().send(message(d.DHCP6_Release, CLIENT, FOR_US, ia("fd00:1::b"))))
    assert statuses(sent[d.DHCP6OptIA_NA]) == [3]


def test_declined_is_shown() -> None:
    rig = Rig()
    rig.send(message(d.DHCP6_Decline, CLIENT, FOR_US, ia("fd00:1::b")))
    assert not rig.get("dhcp6").declined
    rig.send(message(d.DHCP6_Decline, CLIENT, FOR_US, ia("fd00:1::a")), now=4.0)
    shown = rig.get("dhcp6").declined[1]
    assert (str(shown.address), shown.times, shown.last) == ("fd00:1::a", 1, 4.0)


def test_information() -> None:
    packet = message(d.DHCP6_InfoRequest, ORO, src="fe80::3", mac=VM3)
    sent = only(Rig().send(packet, vif=3), 3)
    assert sent[d.DHCP6OptDNSServers].dnsservers == ["fd00:2::1"]
    assert sent[d.DHCP6OptDNSDomains].dnsdomains == ["blue.example."]
    assert sent[d.DHCP6OptInfoRefreshTime].reftime == 86400
    assert d.DHCP6OptClientId not in sent


def test_unicast_is_told_to_multicast() -> None:
    packet = message(d.DHCP6_Renew, CLIENT, FOR_US, ia("fd00:1::a"))
    packet[IPv6].dst = "fd00:1::1"
    sent = only(Rig().send(packet))
    assert status(sent) == 5
    packet = message(d.DHCP6_Solicit, CLIENT, ia())
    packet[IPv6].dst = "fd00:1::1"
    assert results(Rig().send(packet)) == ["dhcp6: unicast"]


def test_slaac_networks_give_no_addresses() -> None:
    rig = Rig()
    packet = message(d.DHCP6_Solicit, CLIENT, ia(), src="fe80::3", mac=VM3)
    assert results(rig.send(packet, vif=3)) == ["dhcp6: no address"]
    packet = message(d.DHCP6_Request, CLIENT, FOR_US, ia(), src="fe80::3", mac=VM3)
    assert statuses(only(rig.send(packet, vif=3), 3)[d.DHCP6OptIA_NA]) == [2]
    rig.world.live[3] = dataclasses.replace(PORT3, network=dataclasses_none())
    packet = message(d.DHCP6_InfoRequest, ORO, src="fe80::3", mac=VM3)
    assert results(rig.send(packet, vif=3)) == ["dhcp6: no subnet"]


def dataclasses_none() -> Any:
    """BLUE without IPv6."""
    import msgspec

    return msgspec.structs.replace(BLUE, subnets=BLUE.subnets[:1])


@pytest.mark.parametrize(
    ("packet", "how", "result"),
    [
        (message(d.DHCP6_Solicit, CLIENT, ia(), mac="02:00:00:00:00:99"), {}, "unknown client"),
        (message(d.DHCP6_Solicit, CLIENT, ia(), src="fd00:1::a"), {}, "source is not link-local"),
        (message(d.DHCP6_Solicit, CLIENT, ia()), {"vif": FABRIC}, "from the fabric"),
        (message(d.DHCP6_Solicit, ia()), {}, "no client id"),
        (message(d.DHCP6_Solicit, CLIENT, FOR_US, ia()), {}, "server id"),
        (message(d.DHCP6_Request, CLIENT, ia()), {}, "no server id"),
        (message(d.DHCP6_Request, CLIENT, FOR_OTHER, ia()), {}, "for another server"),
        (message(d.DHCP6_Confirm, CLIENT, ia()), {}, "nothing to confirm"),
        (message(d.DHCP6_Reply, CLIENT, FOR_US), {}, "dhcp message type"),
        (message(d.DHCP6_InfoRequest, ia()), {}, "association in an information request"),
        (message(d.DHCP6_Solicit, CLIENT, CLIENT), {}, "dhcp duid"),
        (message(d.DHCP6_Solicit, Raw(b"\0\1\0\2ab")), {}, "dhcp duid"),
        (message(d.DHCP6_Solicit, CLIENT, Raw(b"\0\3\0\x40abc")), {}, "dhcp option cut short"),
        (message(d.DHCP6_Solicit, CLIENT, Raw(b"\0\3\0")), {}, "dhcp option cut short"),
        (message(d.DHCP6_Solicit, CLIENT, Raw(b"\0\3\0\4abcd")), {}, "dhcp option cut short"),
        (message(d.DHCP6_Solicit, CLIENT, Raw(b"\0\4\0\2ab")), {}, "dhcp option cut short"),
        (message(d.DHCP6_Solicit, CLIENT, ia(), Raw(b"\0\6\0\3abc")), {}, "dhcp option cut short"),
        (wrapped(b"\x0c" + bytes(40)), {}, "relayed"),
    ],
)
def test_silence(packet: Any, how: Any, result: str) -> None:
    actions = Rig().send(packet, **how)
    assert results(actions) == [f"dhcp6: {result}"]
    assert len(actions) == 1
