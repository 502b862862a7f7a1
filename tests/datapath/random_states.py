# SPDX-License-Identifier: Apache-2.0
"""Tables at random: routes to nothing, labels without nexthop, composites of anything.

The vifs are those of the base states; keys are drawn from what the packets name, so that
packets meet the entries. The number in a state's name is the seed that makes it again.
"""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from tests.model.const import BROADCAST, Family, NhFlag, NhType, RouteFlag, VifFlag
from tests.model.state import (
    BridgeEntry,
    ForwardingClass,
    Member,
    Mirror,
    Nexthop,
    QosMap,
    Route,
    State,
)

from . import states as s
from .packets import ADDRESSES, ADDRESSES6, LABELS, MACS, VNIS

PREFIX = "random-"
NEXTHOPS = range(1, 60)
VRFS = (0, 1, 1, 2, 3, 4)
KINDS = (NhFlag.TUNNEL_GRE, NhFlag.TUNNEL_UDP_MPLS, NhFlag.TUNNEL_VXLAN)
COMPOSITES = (
    NhFlag.MULTICAST,
    NhFlag.MULTICAST,
    NhFlag.MULTICAST | NhFlag.VALIDATE_MCAST_SRC,
    NhFlag.COMPOSITE_ENCAP,
    NhFlag.COMPOSITE_EVPN,
    NhFlag.COMPOSITE_FABRIC,
    NhFlag.COMPOSITE_TOR,
    NhFlag.COMPOSITE_ECMP,
    NhFlag.COMPOSITE_ECMP,
    NhFlag.COMPOSITE_LU_ECMP,
)
OIFS = (s.VM1, s.VM2, s.RED, s.UUF, s.NARROW, s.SUB, s.VGW, s.HOST, s.FABRIC, s.FABRIC, s.GONE)


def _any_nexthop(r: random.Random) -> int:
    """A nexthop that may or may not exist."""
    number: int = r.choice((*NEXTHOPS, *NEXTHOPS, 0, 999))
    return number


def _label(r: random.Random) -> int | None:
    return r.choice((None, r.choice(LABELS[:-1]), r.randrange(1 << 20)))


def _nexthop(r: random.Random, number: int) -> Nexthop:
    kind = r.choice([*[*NhType][1:], NhType.ENCAP, NhType.TUNNEL, NhType.COMPOSITE])
    flags = NhFlag.VALID if r.random() < 0.93 else NhFlag(0)
    family = Family.INET if kind == NhType.RECEIVE else r.choice((Family.INET, Family.BRIDGE))
    oif = r.choice(OIFS)
    if kind == NhType.TUNNEL and oif == s.SUB:
        oif = s.FABRIC
    ends = s.SELF, r.choice((s.FAR, s.OTHER, s.TOR_IP))
    rewrite = b""
    members: tuple[Member, ...] = ()
    fields = 0
    if kind == NhType.TUNNEL:
        flags |= r.choice((*KINDS, *KINDS, NhFlag.TUNNEL_UDP, NhFlag(0)))
        flags |= r.choice((NhFlag(0), NhFlag.L3_VXLAN))
        rewrite = s.HEAD
        if r.random() < 0.4:
            family, ends = Family.INET6, (s.SELF6, r.choice((s.FAR6, s.OTHER6)))
    elif kind == NhType.ENCAP:
        rewrite = r.choice((b"", r.choice(MACS) + s.GATEWAY + b"\x08\x00"))
    elif kind == NhType.VRF_TRANSLATE:
        flags |= r.choice((NhFlag(0), NhFlag.UNKNOWN_UC_FLOOD, NhFlag.MAC_LEARN))
    elif kind == NhType.COMPOSITE:
        flags |= r.choice(COMPOSITES)
        members = _members(r, number)
        if flags & (NhFlag.COMPOSITE_ECMP | NhFlag.COMPOSITE_LU_ECMP):
            fields = r.choice((0, 0, r.getrandbits(5)))
    return Nexthop(
        number,
        kind,
        family,
        flags,
        r.choice(VRFS),
        oif,
        *ends,
        rewrite,
        r.choice(MACS),
        members,
        fields,
        r.getrandbits(16),
        r.randrange(1, 1 << 16),
    )


def _members(r: random.Random, number: int) -> tuple[Member, ...]:
    count = r.choice((0, 1, 2, 5, 31, 32, 70))
    members = (Member(_any_nexthop(r), _label(r)) for _ in range(count))
    return tuple(member for member in members if member.nh != number)


def _routes(r: random.Random, state: State) -> list[Route]:
    routes = []
    for _ in range(120):
        vrf, plen = r.choice(VRFS), r.choice((0, 8, 16, 24, 31, 32, 32, 32, 32))
        address = int.from_bytes(r.choice(ADDRESSES), "big")
        prefix = IPv4Network((address >> (32 - plen) << (32 - plen), plen))
        routes.append(_route(r, state, vrf, prefix))
    for _ in range(120):
        vrf, plen = r.choice(VRFS), r.choice((0, 7, 10, 48, 63, 64, 65, 120, *(127, 128) * 4))
        address = int.from_bytes(r.choice(ADDRESSES6), "big")
        prefix6 = IPv6Network((address >> (128 - plen) << (128 - plen), plen))
        routes.append(_route(r, state, vrf, prefix6))
    return routes


def _route(r: random.Random, state: State, vrf: int, prefix: IPv4Network | IPv6Network) -> Route:
    label = _label(r)
    flags = r.choice((0, 0, 2, 2, 4, 8, 10, 14))
    flags |= RouteFlag.LABEL_VALID if label is not None else 0
    known = [mac for of, mac in state.bridge if of == vrf]
    stitch = r.choice(known) if known and r.random() < 0.4 else None
    return Route(vrf, prefix, _any_nexthop(r), label, flags, stitch)


def _copies(r: random.Random, state: State) -> None:
    """Mirrors by tunnels (a tagged frame that a vif gets has its tag beside it, unseen), marks."""
    tunnels = [nh.id for nh in state.nexthops.values() if nh.type == NhType.TUNNEL] or [999]
    for index in range(4):
        metadata = r.choice((b"", s.METADATA, r.randbytes(16)))
        vni = None if metadata else r.choice((None, 7000))
        state.mirrors[index] = Mirror(r.choice((*tunnels, *tunnels, 999)), vni, metadata)
    state.classes = {
        fc: ForwardingClass(r.randrange(64), r.randrange(8), r.randrange(8), r.randrange(256))
        for fc in range(4)
    }
    classes = [*range(5)]
    for index in range(r.choice((0, 3))):
        dscp = tuple(r.choice(classes) for _ in range(64))
        state.qos_maps[index] = QosMap(dscp, tuple(r.choice(classes) for _ in range(8)))
    for vif in list(state.vifs.values()):
        flags = vif.flags & ~s.MIRROR_BOTH
        if r.random() < 0.3:
            flags |= r.choice((s.MIRROR_BOTH, VifFlag.MIRROR_RX, VifFlag.MIRROR_TX))
        if any(one.parent == vif.idx for one in state.vifs.values()):
            # the tag of a part may be the third, of which a tunnel takes two
            flags &= ~VifFlag.MIRROR_TX
        mirror = r.randrange(5)
        state.add(replace(vif, flags=flags, mirror=mirror, qos=r.choice((-1, 0, 1, 2, 3))))


def random_state(seed: int) -> State:
    """The state of that seed: with an agent if it is even."""
    r = random.Random(seed)
    state = s.base(f"{PREFIX}{seed}", agent=seed % 2 == 0)
    state.nexthops = {0: state.nexthops[0]}
    state.routes, state.bridge = {}, {}
    state.mss_from_vm, state.mss_to_vm = seed % 4 != 1, seed % 4 != 2
    state.icmp_trap, state.exception = seed % 5 == 0, seed % 7 != 0
    state.add(*(_nexthop(r, number) for number in NEXTHOPS if r.random() < 0.9))
    macs = [mac for mac in MACS if not mac[0] & 1]
    for vrf in set(VRFS):
        for mac in r.sample(macs, len(macs) * 2 // 3):
            label = _label(r)
            state.add(BridgeEntry(vrf, mac, _any_nexthop(r), label, r.random() < 0.2))
        if r.random() < 0.5:
            state.add(BridgeEntry(vrf, s.GROUP, _any_nexthop(r), _label(r)))
        if r.random() < 0.8:
            state.add(BridgeEntry(vrf, BROADCAST, _any_nexthop(r), _label(r)))
    state.add(*_routes(r, state))
    # the fabric must know this host's address, or no tunnel is ever opened
    own = [nh.id for nh in state.nexthops.values() if nh.type == NhType.RECEIVE] or [999]
    state.add(Route(0, IPv4Network("172.30.0.1/32"), own[0]))
    if seed % 3:
        state.add(Route(0, IPv6Network("2001:db8::1/128"), own[0]))
    else:  # an underlay that does not speak IPv6
        state.routes = {key: one for key, one in state.routes.items() if key[:2] != (6, 0)}
    state.mpls = {label: _any_nexthop(r) for label in LABELS if 16 <= label < 2048}
    state.vxlan = {vni: _any_nexthop(r) for vni in VNIS if vni}
    _copies(r, state)
    return state
