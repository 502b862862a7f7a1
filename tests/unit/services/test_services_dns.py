# SPDX-License-Identifier: Apache-2.0
"""DNS, against scapy and dpkt; forwarding against real servers on the loopback."""

from __future__ import annotations

import asyncio
import functools
import struct
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import dpkt
import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRROPT
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from tests.unit.services.rig import ROUTER, VM1, Rig, World, frames, only, results, same_sums

from vrouter.agent.services import all_services, dns_forward, dns_resolver
from vrouter.agent.services.base import Action, Later
from vrouter.agent.services.dns_forward import HostForwarder
from vrouter.agent.services.dns_resolver import IN_FLIGHT_PER_PORT

A, NS, PTR, AAAA, ANY = 1, 2, 12, 28, 255


def query(name: str, kind: int = A, *, rd: int = 1, edns: int = 0, **fields: Any) -> Any:
    extra = [DNSRROPT(rclass=edns, version=fields.pop("version", 0))] if edns else []
    question = DNSQR(qname=name, qtype=kind, qclass=fields.pop("qclass", 1))
    message = DNS(**{"id": 0x77AA, "rd": rd, "qd": question, "ar": extra, **fields})
    return wrapped(bytes(message))


def wrapped(data: bytes, sport: int = 5353) -> Any:
    head = Ether(src=VM1, dst=ROUTER) / IP(src="10.1.1.10", dst="10.1.1.2")
    return head / UDP(sport=sport, dport=53) / Raw(data)


def read(frame: Any) -> Any:
    return dpkt.dns.DNS(bytes(frame[UDP].payload))


def run(actions: Iterable[Action]) -> list[Action]:
    """What the forwarded query among the actions gives."""

    async def wait(work: Awaitable[Iterable[Action]]) -> list[Action]:
        return list(await work)

    (later,) = [one for one in actions if isinstance(one, Later)]
    return asyncio.run(wait(later.work))


VM1_A = bytes((10, 1, 1, 10))
VM1_AAAA = bytes.fromhex("fd00000100000000000000000000000a")


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("vm1", A, [(A, VM1_A)]),
        ("vm1.red.example", A, [(A, VM1_A)]),
        ("VM1.Red.Example", AAAA, [(AAAA, VM1_AAAA)]),
        ("vm1", ANY, [(A, VM1_A), (AAAA, VM1_AAAA)]),
        ("10.1.1.10.in-addr.arpa", PTR, [(PTR, b"\3vm1\3red\7example\0")]),
        ("remote.red.example", A, [(A, bytes((10, 1, 1, 200)))]),
    ],
)
def test_own_names(name: str, kind: int, found: Any) -> None:
    rig = Rig(World(names={("red", "remote"): ("10.1.1.200",)}))
    actions = rig.send(query(name, kind))
    sent = only(actions)
    assert same_sums(sent)
    assert (sent[IP].src, sent[UDP].sport, sent[UDP].dport) == ("10.1.1.2", 53, 5353)
    answer = read(sent)
    assert (answer.id, answer.qr, answer.aa, answer.ra, answer.rd) == (0x77AA, 1, 1, 1, 1)
    assert answer.rcode == 0
    assert [one.name for one in answer.qd] == [name], "in its case"
    assert [(one.type, _rdata(one)) for one in answer.an] == found
    assert results(actions) == ["dns: answered"]


def _rdata(one: Any) -> bytes:
    """A name is unpacked, as it may be compressed."""
    if one.type != PTR:
        return bytes(one.rdata)
    labels = one.ptrname.split(".")
    return b"".join(bytes((len(each),)) + each.encode() for each in labels) + b"\0"


def test_reverse6() -> None:
    name = ".".join(reversed("fd00000100000000000000000000000b")) + ".ip6.arpa"
    answer = read(only(Rig().send(query(name, PTR))))
    assert [one.ptrname for one in answer.an] == ["vm2.red.example"]


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "result"),
    [
        ("vm1.red.example", PTR, 0, "answered"),
        ("red.example", A, 0, "answered"),
        ("nobody.red.example", A, 3, "no such name"),
        ("nobody", A, 3, "no such name"),
        ("99.1.1.10.in-addr.arpa", PTR, 3, "no such name"),
        ("1.1.1.10.in-addr.arpa", PTR, 0, "answered"),
    ],
)
def test_denials_have_a_soa(name: str, kind: int, rcode: int, result: str) -> None:
    actions = Rig().send(query(name, kind))
    answer = read(only(actions))
    assert (answer.rcode, len(answer.an), [one.type for one in answer.ns]) == (rcode, 0, [6])
    assert results(actions) == [f"dns: {result}"]


@pytest.mark.parametrize(
    ("packet", "rcode", "result"),
    [
        (query("vm1", opcode=4), 4, "not implemented"),
        (query("vm1", opcode=5), 4, "not implemented"),
        (query("vm1", qclass=3), 5, "refused"),
        (query("vm1", 252), 5, "refused"),
        (query("www.example.org", rd=0), 5, "refused"),
        (wrapped(struct.pack("!HHHHHH", 5, 0x100, 0, 0, 0, 0)), 1, "dns question"),
        (wrapped(struct.pack("!HHHHHH", 5, 0x100, 2, 0, 0, 0) + b"\0" * 10), 1, "dns question"),
        (
            wrapped(struct.pack("!HHHHHH", 5, 0x100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1"),
            1,
            "dns name",
        ),
        (wrapped(struct.pack("!HHHHHH", 5, 0x100, 1, 0, 0, 0) + b"\x7fab"), 1, "dns name"),
        (
            wrapped(
                struct.pack("!HHHHHH", 5, 0x100, 1, 0, 0, 0) + b"\x7f" + b"a" * 127 + b"\0\0\1\0\1"
            ),
            1,
            "dns name",
        ),
        (wrapped(struct.pack("!HHHHHH", 5, 0x100, 1, 0, 0, 0) + b"\x03abc\0\0"), 1, "dns question"),
        (
            wrapped(
                struct.pack("!HHHHHH", 5, 0x100, 1, 0, 0, 0)
                + (b"\x3f" + b"a" * 63) * 4
                + b"\0\0\1\0\1"
            ),
            1,
            "dns name",
        ),
        (
            wrapped(
                struct.pack("!HHHHHH", 5, 0x100, 1, 0, 0, 2)
                + b"\0\0\1\0\1"
                + (b"\0\0\x29\4\0" + bytes(6)) * 2
            ),
            1,
            "dns edns",
        ),
        (wrapped(struct.pack("!HHHHHH", 5, 0x100, 1, 0, 0, 9) + b"\0\0\1\0\1"), 1, "dns name"),
    ],
)
def test_errors(packet: Any, rcode: int, result: str) -> None:
    actions = Rig().send(packet)
    data = bytes(only(actions)[UDP].payload)
    assert data[3] & 15 == rcode
    assert data[:2] == bytes(packet[Raw].load)[:2]
    assert data[2] & 0xF8 == 0x80 | bytes(packet[Raw].load)[2] & 0x78
    assert results(actions) == [f"dns: {result}"]


def test_silence() -> None:
    assert results(Rig().send(wrapped(b"\0" * 11))) == ["dns: short dns"]
    assert results(Rig().send(query("vm1", qr=1))) == ["dns: not a query"]
    bad = query("vm1")
    bad[UDP].chksum = 1
    assert results(Rig().send(bad)) == ["dns: udp checksum"]
    other = query("vm1")
    other[IP].dst = "10.1.1.11"
    assert Rig().raw(bytes(other)) is None


def test_edns() -> None:
    answer = DNS(bytes(only(Rig().send(query("vm1", edns=4096)))[UDP].payload))
    (opt,) = answer.ar
    assert (opt.type, opt.rclass, opt.version) == (41, 1232, 0)
    assert not DNS(bytes(only(Rig().send(query("vm1")))[UDP].payload)).ar
    bad = DNS(bytes(only(Rig().send(query("vm1", edns=4096, version=1)))[UDP].payload))
    assert (bad.rcode, bad.ar[0].extrcode, len(bad.an)) == (0, 1, 0)


def test_too_long_without_edns() -> None:
    many = tuple(f"10.1.1.{n}" for n in range(20, 80))
    rig = Rig(World(names={("red", "many"): many}))
    plain = read(only(rig.send(query("many"))))
    assert (plain.tc, len(plain.an), len(plain.qd)) == (1, 0, 1)
    big = read(only(rig.send(query("many", edns=4000))))
    assert (big.tc, len(big.an)) == (0, 60)


def test_over_ipv6() -> None:
    data = bytes(query("vm1")[Raw].load)
    head = Ether(src=VM1, dst=ROUTER) / IPv6(src="fd00:1::a", dst="fd00:1::1")
    sent = only(Rig().send(head / UDP(sport=999, dport=53) / Raw(data)))
    assert same_sums(sent) and read(sent).an


class Asked:
    """A forwarder that keeps what it was asked."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.queries: list[bytes] = []
        self._answer = answer

    async def ask(self, query: bytes, *, stream: bool = False) -> bytes | None:
        self.queries.append(query)
        return self._answer(query)


def reply(query: bytes, size: int = 0) -> bytes:
    return query[:2] + b"\x81\x80" + query[4:] + bytes(size)


def rig_with(forwarder: Any) -> Rig:
    world = World()
    return Rig(world, all_services(world, forwarder))


def test_forwarded_with_an_id_of_its_own() -> None:
    asked = Asked(reply)
    rig = rig_with(asked)
    made = [rig.send(query("WWW.example.org")) for _ in range(8)]
    answers = [only(run(one)) for one in made]
    assert {read(one).id for one in answers} == {0x77AA}
    assert {read(one).qd[0].name for one in answers} == {"WWW.example.org"}
    assert len({one[:2] for one in asked.queries}) > 1, "ids are random"
    assert not rig.get("dns").resolver.in_flight.get(1)


def test_a_long_answer_is_cut() -> None:
    rig = rig_with(Asked(lambda query: reply(query, 600)))
    assert read(only(run(rig.send(query("www.example.org"))))).tc == 1
    whole = only(run(rig.send(query("www.example.org", edns=1232))))
    assert len(bytes(whole[UDP].payload)) > 600


def test_nobody_answers() -> None:
    actions = run(rig_with(Asked(lambda query: None)).send(query("www.example.org")))
    assert read(only(actions)).rcode == 2
    assert results(actions) == ["dns: no server answered"]


def test_a_port_that_went_away_gets_nothing() -> None:
    rig = rig_with(Asked(reply))
    actions = rig.send(query("www.example.org"))
    del rig.world.live[1]
    assert results(run(actions)) == ["dns: port gone"]


def test_few_in_flight_for_a_port() -> None:
    rig = rig_with(Asked(reply))
    made = [rig.send(query("www.example.org")) for _ in range(IN_FLIGHT_PER_PORT + 3)]
    assert [results(one) for one in made[-3:]] == [["dns: too many in flight"]] * 3
    later = [one for actions in made for one in actions if isinstance(one, Later)]
    assert len(later) == IN_FLIGHT_PER_PORT
    assert results(run(made[0])) == ["dns: forwarded answer"]
    again = rig.send(query("www.example.org"))
    assert results(again) == ["dns: forwarded"], "a place is free"
    later[0] = next(one for one in again if isinstance(one, Later))
    rig.tick(1029.0)
    assert results(rig.send(query("www.example.org"))) == ["dns: too many in flight"]
    rig.tick(1031.0)
    again = rig.send(query("www.example.org"))
    assert results(again) == ["dns: forwarded"]
    for one in [*later, *[one for one in again if isinstance(one, Later)]]:
        one.work.close()


def test_few_in_flight_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_resolver, "IN_FLIGHT", 2)
    rig = rig_with(Asked(reply))
    made = [rig.send(query("www.example.org"), vif=vif) for vif in (1, 2, 1)]
    assert results(made[-1]) == ["dns: too many in flight"]
    for actions in made[:2]:
        run(actions)


class Server(asyncio.DatagramProtocol):
    """A server whose answer a function gives."""

    def __init__(self, answer: Callable[[bytes], list[bytes]]) -> None:
        self.answer = answer
        self.sources: list[int] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sources.append(addr[1])
        for one in self.answer(data):
            self.transport.sendto(one, addr)


def ask(*answers: Callable[[bytes], list[bytes]], times: int = 1) -> tuple[Any, list[Server]]:
    """What HostForwarder gives for a query, of servers with these answers, in their order."""
    data = bytes(query("www.example.org")[Raw].load)

    async def main() -> tuple[Any, list[Server]]:
        loop = asyncio.get_running_loop()
        started = [
            await loop.create_datagram_endpoint(
                functools.partial(Server, one), local_addr=("127.0.0.1", 0)
            )
            for one in answers
        ]
        places = [transport.get_extra_info("sockname")[:2] for transport, _ in started]
        forwarder = HostForwarder(lambda: places)
        for _ in range(times):
            found = await forwarder.ask(data)
        for transport, _ in started:
            transport.close()
        return found, [one for _, one in started]

    return asyncio.run(main())


def silent(query: bytes) -> list[bytes]:
    return []


def good(query: bytes) -> list[bytes]:
    return [reply(query)]


def failing(query: bytes) -> list[bytes]:
    return [query[:2] + b"\x81\x82" + query[4:]]


def forged(query: bytes) -> list[bytes]:
    """Answers of another id, to another question, and none at all; then the right one."""
    other = bytes((query[0] ^ 1,)) + reply(query)[1:]
    question = reply(query).replace(b"www", b"ftp")
    two = reply(query)[:4] + b"\0\2" + reply(query)[6:]
    return [other, question, two, query, b"x", reply(query, 4)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_forward, "TIMEOUT", 0.3)


@pytest.mark.usefixtures("quick")
def test_the_next_server_is_asked() -> None:
    data = bytes(query("www.example.org")[Raw].load)
    for first in (silent, failing):
        found, servers = ask(first, good)
        assert found == reply(data)
        assert [len(one.sources) for one in servers] == [1, 1]


@pytest.mark.usefixtures("quick")
def test_the_server_that_answered_is_asked_first() -> None:
    _, servers = ask(failing, good, times=3)
    assert [len(one.sources) for one in servers] == [1, 3]


@pytest.mark.usefixtures("quick")
def test_two_rounds_and_no_more() -> None:
    found, servers = ask(silent)
    assert found is None and len(servers[0].sources) == 2
    found, _ = ask(failing)
    assert found[3] & 15 == 2, "its failure is the answer when nobody has another"


@pytest.mark.usefixtures("quick")
def test_what_is_no_answer_is_passed_over() -> None:
    data = bytes(query("www.example.org")[Raw].load)
    found, servers = ask(forged, times=4)
    assert found == reply(data, 4)
    assert len(set(servers[0].sources)) > 1, "source ports differ"


@pytest.mark.usefixtures("quick")
def test_a_question_in_another_case_is_put_back() -> None:
    data = bytes(query("www.example.org")[Raw].load)
    found, _ = ask(lambda query: [reply(query).replace(b"www", b"WWW")])
    assert found == reply(data)


def test_resolv_conf(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    assert not dns_forward.of_host(path)
    path.write_text(
        "# x\nsearch a b\nnameserver 10.0.0.1\nnameserver nonsense\nnameserver\n"
        "nameserver fd00::1\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n"
    )
    assert dns_forward.of_host(path) == [("10.0.0.1", 53), ("fd00::1", 53), ("10.0.0.3", 53)]


def test_a_frame_for_each_answer() -> None:
    assert len(frames(Rig().send(query("vm1")))) == 1
