# SPDX-License-Identifier: Apache-2.0
"""From the arguments of `nh --create` to a nexthop.

Which field belongs to which type is checked here, because only a person gives too many; what a
field may hold, and what dp-core supports, is checked by the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vrouter.dpcore.errors import UsageError
from vrouter.dpcore.names import Family, HashField, NhFlag, NhType
from vrouter.dpcore.records import Member, Nexthop

ETHERTYPE_IPV4 = b"\x08\x00"
ETHERTYPE_IPV6 = b"\x86\xdd"
ENCAP_FAMILY_ARP = 0x0806  # what upstream's tool and agent store for an L3 Encap

# Options that only some types may have.
ALLOWED = {
    NhType.RECEIVE: ("oif",),
    NhType.ENCAP: ("oif", "smac", "dmac", "mc"),
    NhType.TUNNEL: (
        "oif",
        "smac",
        "dmac",
        "sip",
        "dip",
        "udp",
        "vxlan",
        "sport",
        "dport",
        "l3_vxlan",
    ),
    NhType.RESOLVE: ("oif",),
    NhType.DISCARD: (),
    NhType.COMPOSITE: (
        *("cni", "lbl", "cmc", "cen", "cevpn", "cfa", "tor", "ecmp", "lu_ecmp"),
        *("validate_src", "hash"),
    ),
    NhType.VRF_TRANSLATE: ("vxlan", "uucf"),
    NhType.L2_RECEIVE: ("oif",),
}
NEEDED = {
    NhType.RECEIVE: ("oif",),
    NhType.ENCAP: ("oif",),
    NhType.TUNNEL: ("oif", "smac", "dmac", "sip", "dip"),
    NhType.VRF_TRANSLATE: ("vrf",),
}
NEEDED_OF_UDP = ("sip", "dip")  # it is routed; the Ethernet header comes with the route
SPECIAL = tuple(dict.fromkeys(name for names in ALLOWED.values() for name in names))

FLAGS = {
    "pol": NhFlag.POLICY,
    "rpol": NhFlag.POLICY | NhFlag.RELAXED_POLICY,
    "root": NhFlag.ETREE_ROOT,
    "rlkup": NhFlag.ROUTE_LOOKUP,
    "ml": NhFlag.MAC_LEARN,
    "mc": NhFlag.MULTICAST,
    "uucf": NhFlag.UNKNOWN_UC_FLOOD,
}
KINDS = {
    "cmc": NhFlag.MULTICAST,
    "cen": NhFlag.COMPOSITE_ENCAP,
    "cevpn": NhFlag.COMPOSITE_EVPN,
    "cfa": NhFlag.COMPOSITE_FABRIC,
    "tor": NhFlag.COMPOSITE_TOR,
    "ecmp": NhFlag.COMPOSITE_ECMP,
    "lu_ecmp": NhFlag.COMPOSITE_ECMP | NhFlag.COMPOSITE_LU_ECMP,
}


HASH_WORDS = {field.name.lower(): field for field in HashField if field.name}


def hash_fields(text: str) -> HashField:
    """Words of HASH_WORDS, divided by commas."""
    fields = HashField(0)
    for word in text.split(","):
        if word not in HASH_WORDS:
            raise argparse.ArgumentTypeError(
                f"'{word}' is no field; write some of {','.join(HASH_WORDS)}"
            )
        fields |= HASH_WORDS[word]
    return fields


class MemberNexthop(argparse.Action):
    """`--cni ID`: one more member, without a label so far."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, values)
        namespace.members = [*namespace.members, (values, None)]


class MemberLabel(argparse.Action):
    """`--lbl LABEL`: the label of the last member."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        members = namespace.members
        if not members or members[-1][1] is not None:
            raise UsageError("--lbl belongs to the --cni before it; write --cni ID --lbl LABEL")
        setattr(namespace, self.dest, values)
        namespace.members = [*members[:-1], (members[-1][0], values)]


def nexthop_of(args: argparse.Namespace) -> Nexthop:
    """The nexthop that the arguments describe; UsageError if they do not fit together."""
    _check(args)
    flags = NhFlag.VALID
    for name, bits in FLAGS.items():
        if getattr(args, name):
            flags |= bits
    base = Nexthop(
        id=args.create,
        type=args.type,
        family=Family.BRIDGE if args.l2 else Family.INET,
        flags=flags,
        vrf=args.vrf or 0,
        oif=args.oif,
    )
    if args.type == NhType.ENCAP:
        return _encap(base, args)
    if args.type == NhType.TUNNEL:
        return _tunnel(base, args)
    if args.type == NhType.COMPOSITE:
        return _composite(base, args)
    if args.type == NhType.VRF_TRANSLATE and args.vxlan:
        return replace(base, flags=flags | NhFlag.TUNNEL_VXLAN, family=Family.BRIDGE)
    return base


def _check(args: argparse.Namespace) -> None:
    if args.type is None:
        raise UsageError("--create needs --type; 1 receive, 2 encap, 3 tunnel, ... 8 l2-receive")
    given = [name for name in SPECIAL if _given(getattr(args, name))]
    for name in given:
        if name not in ALLOWED[args.type]:
            types = [f"{kind:d}" for kind, names in ALLOWED.items() if name in names]
            raise UsageError(
                f"{_options([name])} has no meaning for --type {args.type:d}; it goes with --type "
                f"{' or '.join(types)}"
            )
    needed = NEEDED.get(args.type, ())
    if args.type == NhType.TUNNEL and _is_plain_udp(args):
        needed = NEEDED_OF_UDP
    missing = [name for name in needed if not _given(getattr(args, name))]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        raise UsageError(f"--type {args.type:d} needs {_options(missing)}; add {them}")


def _is_plain_udp(args: argparse.Namespace) -> bool:
    return bool(args.udp) and args.sport is not None and args.dport is not None


def _given(value: object) -> bool:
    return value is not None and value is not False


def _options(names: Iterable[str]) -> str:
    return " and ".join(
        "--" + name.replace("_", "-") if name != "l3_vxlan" else "--l3_vxlan" for name in names
    )


def _encap(base: Nexthop, args: argparse.Namespace) -> Nexthop:
    if (args.smac is None) != (args.dmac is None):
        raise UsageError("--smac and --dmac go together; give both")
    if args.smac is None:
        if not args.l2:
            raise UsageError("--type 2 needs --smac and --dmac; or --l2 for frames as they are")
        return base
    rewrite = args.dmac + args.smac + ETHERTYPE_IPV4
    return replace(base, rewrite=rewrite, encap_family=0 if args.l2 else ENCAP_FAMILY_ARP)


def _tunnel(base: Nexthop, args: argparse.Namespace) -> Nexthop:
    if args.udp and args.vxlan:
        raise UsageError("--udp and --vxlan exclude each other; give one, or none for MPLSoGRE")
    if args.l3_vxlan is not None and not args.vxlan:
        raise UsageError("--l3_vxlan goes with --vxlan; add --vxlan")
    ports = args.sport is not None, args.dport is not None
    if any(ports) and not (args.udp or args.vxlan):
        raise UsageError("--sport and --dport go with --udp or --vxlan; MPLSoGRE has no ports")
    if args.udp and any(ports) and not all(ports):
        raise UsageError("--sport and --dport go together; give both, or none for MPLSoUDP")
    if args.sip.version != args.dip.version:
        raise UsageError("--sip and --dip are of one IP version; give two of IPv4, or two of IPv6")
    over_ipv6 = args.sip.version == 6
    if over_ipv6 and args.l2:
        raise UsageError("--l2 does not go with a tunnel over IPv6; leave it out")
    if args.sip == args.dip:
        raise UsageError(f"--sip and --dip are both {args.sip}; --dip is the other host")
    kind = NhFlag.TUNNEL_GRE
    if args.vxlan:
        kind = NhFlag.TUNNEL_VXLAN | (NhFlag.L3_VXLAN if args.l3_vxlan is not None else NhFlag(0))
    elif args.udp:
        kind = NhFlag.TUNNEL_UDP if all(ports) else NhFlag.TUNNEL_UDP_MPLS
    rewrite = b""
    if args.dmac is not None and args.smac is not None:
        rewrite = args.dmac + args.smac + (ETHERTYPE_IPV6 if over_ipv6 else ETHERTYPE_IPV4)
    return replace(
        base,
        family=Family.INET6 if over_ipv6 else base.family,
        flags=base.flags | kind,
        sip=args.sip,
        dip=args.dip,
        sport=args.sport or 0,
        dport=args.dport or 0,
        rewrite=rewrite,
        rw_dst_mac=args.l3_vxlan,
    )


def _composite(base: Nexthop, args: argparse.Namespace) -> Nexthop:
    kinds = [name for name in KINDS if getattr(args, name)]
    if len(kinds) != 1:
        raise UsageError(
            "a composite is of exactly one kind; give one of --cmc, --cen, --cevpn, --cfa, "
            "--tor, --ecmp, --lu-ecmp"
        )
    members = tuple(Member(nh=nexthop, label=label) for nexthop, label in args.members)
    if args.hash is not None and not (args.ecmp or args.lu_ecmp):
        raise UsageError("--hash goes with --ecmp; leave it out")
    if args.validate_src and not args.cmc:
        raise UsageError("--validate-src goes with --cmc; leave it out")
    flags = base.flags | KINDS[kinds[0]]
    if args.validate_src:
        flags |= NhFlag.VALIDATE_MCAST_SRC
    return replace(base, flags=flags, members=members, hash_fields=args.hash or HashField(0))
