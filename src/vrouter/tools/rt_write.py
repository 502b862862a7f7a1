# SPDX-License-Identifier: Apache-2.0
"""The writing half of `rt`."""

from __future__ import annotations

import argparse
from enum import IntFlag
from ipaddress import ip_network
from typing import TYPE_CHECKING, TypeVar

from vrouter.dpcore.errors import NoSuchEntry, Refused, UsageError
from vrouter.dpcore.names import BridgeFlag, RouteFlag
from vrouter.dpcore.records import Route
from vrouter.tools.common import missing_nexthop, open_core, report
from vrouter.tools.rt_show import covering
from vrouter.tools.words import mac_text

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.records import IPNetwork


def create(args: argparse.Namespace) -> None:
    """`rt -c`: make an entry, or change it."""
    if args.nh is None:
        raise UsageError("-c needs a nexthop; add -n ID")
    if args.family == "bridge":
        _create_bridge(args)
    else:
        _create_inet(args)


def delete(args: argparse.Namespace) -> None:
    """`rt -d`: remove an entry."""
    if args.family == "bridge":
        _delete_bridge(args)
    else:
        _delete_inet(args)


def _prefix(args: argparse.Namespace) -> IPNetwork:
    if args.prefix is None or args.plen is None:
        raise UsageError("a route needs its prefix; add -p IP -l LEN")
    if args.prefix.version != (6 if args.family == "inet6" else 4):
        raise UsageError(f"-p {args.prefix} is not of family {args.family}")
    if args.plen > args.prefix.max_prefixlen:
        raise UsageError(
            f"-l {args.plen} is too long; {args.prefix} has {args.prefix.max_prefixlen} bits"
        )
    wanted = ip_network((args.prefix, args.plen), strict=False)
    if wanted.network_address != args.prefix:
        raise UsageError(
            f"-p {args.prefix} has bits beyond -l {args.plen}; write -p {wanted.network_address}"
        )
    return wanted


def _mac(args: argparse.Namespace) -> bytes:
    for name, option in (("prefix", "-p"), ("plen", "-l"), ("replace", "-r")):
        if getattr(args, name) is not None:
            raise UsageError(f"{option} has no meaning with -f 1; a bridge entry has -e MAC")
    if args.mac is None:
        raise UsageError("a bridge entry needs its MAC; add -e MAC")
    mac: bytes = args.mac
    return mac


F = TypeVar("F", bound=IntFlag)


def _known(kind: type[F], bits: int | None) -> F:
    """`bits` as flags of `kind`; UsageError for a bit that means nothing."""
    every = kind(sum(kind))
    if bits and bits & ~int(every):  # ~ of a flag stays within the known bits
        raise UsageError(
            f"-x {bits:#x} has bits that mean nothing; all together are {int(every):#x}"
        )
    return kind(bits or 0)


def _create_inet(args: argparse.Namespace) -> None:
    prefix = _prefix(args)
    flags = _known(RouteFlag, args.flags)
    for given, bit in (
        (args.proxy, RouteFlag.ARP_PROXY),
        (args.trap, RouteFlag.ARP_TRAP),
        (args.flood, RouteFlag.ARP_FLOOD),
        (args.learnt, RouteFlag.MAC_IP_LEARNT),
        (args.label is not None, RouteFlag.LABEL_VALID),
    ):
        flags |= bit if given else RouteFlag(0)
    if flags & RouteFlag.LABEL_VALID and args.label is None:
        raise UsageError("-x says that the label is valid; add -t LABEL")
    with open_core(args) as core, core.lock():
        wanted = Route(
            vrf=args.vrf,
            prefix=prefix,
            nh=args.nh,
            label=args.label,
            flags=flags,
            bridge=_stitched(core, args),
        )
        table = core.routes_of(prefix)
        before = table.get(args.vrf, prefix)
        if before == wanted:
            text = f"{prefix} in VRF {args.vrf} leads to nexthop {args.nh} already"
            report(args, f"{text}; nothing changed", changed=False)
            return
        table.put(wanted)
        lost = missing_nexthop(core, args.nh)
    did = "created" if before is None else "changed"
    report(args, f"{did} {prefix} in VRF {args.vrf} -> nexthop {args.nh}{lost}", changed=True)


def _stitched(core: DpCore, args: argparse.Namespace) -> int:
    """The bridge index of the MAC that ARP is answered with; 0 for none."""
    if args.mac is None:
        return 0
    entry = core.bridge.get(args.vrf, args.mac)
    if entry is None:
        raise NoSuchEntry(
            f"-e {mac_text(args.mac)} is not in the bridge table of VRF {args.vrf}; add it "
            f"first with rt -c -v {args.vrf} -f 1 -e {mac_text(args.mac)} -n ID"
        )
    return entry.index


def _delete_inet(args: argparse.Namespace) -> None:
    if args.mac is not None:
        raise UsageError("-e has no meaning with -d of a route; leave it out")
    prefix = _prefix(args)
    with open_core(args) as core, core.lock():
        table = core.routes_of(prefix)
        if table.get(args.vrf, prefix) is None:
            report(args, f"no {prefix} in VRF {args.vrf}; nothing changed", changed=False)
            return
        remains = covering(core, args.vrf, prefix, prefix.prefixlen - 1)
        _check_remaining(args, remains)
        table.delete(args.vrf, prefix)
    tail = "" if remains is None else f"; {remains.prefix} -> nexthop {remains.nh} takes over"
    report(args, f"deleted {prefix} in VRF {args.vrf}{tail}", changed=True)


def _check_remaining(args: argparse.Namespace, remains: Route | None) -> None:
    """-r and -n of a delete say what upstream's expanded table falls back to.

    Ours finds that by itself, so a wish that the tables do not bear out is refused.
    """
    found = "nothing" if remains is None else f"{remains.prefix} with nexthop {remains.nh}"
    plen = 0 if remains is None else remains.prefix.prefixlen
    nexthop = 0 if remains is None else remains.nh
    if args.replace is not None and args.replace != plen:
        raise Refused(f"-r {args.replace} cannot be: what remains is {found}; leave -r out")
    if args.nh is not None and args.nh != nexthop:
        raise Refused(f"-n {args.nh} cannot be: what remains is {found}; leave -n out")


def _create_bridge(args: argparse.Namespace) -> None:
    mac = _mac(args)
    for name, option in (("proxy", "-P"), ("trap", "-T"), ("flood", "-F"), ("learnt", "-M")):
        if getattr(args, name):
            raise UsageError(f"{option} is of IPv4 routes; use -x for flags of a bridge entry")
    flags = _known(BridgeFlag, args.flags) | BridgeFlag.VALID
    if args.label is not None:
        flags |= BridgeFlag.LABEL_VALID
    elif flags & BridgeFlag.LABEL_VALID:
        raise UsageError("-x says that the label is valid; add -t LABEL")
    with open_core(args) as core, core.lock():
        before = core.bridge.get(args.vrf, mac)
        if before is not None and (before.nh, before.label, before.flags) == (
            args.nh,
            args.label,
            flags,
        ):
            text = f"{mac_text(mac)} in VRF {args.vrf} leads to nexthop {args.nh} already"
            report(args, f"{text}; nothing changed", changed=False)
            return
        entry = core.bridge.put(args.vrf, mac, args.nh, label=args.label, flags=flags)
        lost = missing_nexthop(core, args.nh)
    did = "created" if before is None else "changed"
    where = f"{mac_text(mac)} in VRF {args.vrf} (index {entry.index})"
    report(args, f"{did} {where} -> nexthop {args.nh}{lost}", changed=True)


def _delete_bridge(args: argparse.Namespace) -> None:
    mac = _mac(args)
    if args.nh is not None:
        raise UsageError("-n has no meaning with -d of a bridge entry; leave it out")
    with open_core(args) as core, core.lock():
        if core.bridge.get(args.vrf, mac) is None:
            text = f"no {mac_text(mac)} in VRF {args.vrf}; nothing changed"
            report(args, text, changed=False)
            return
        core.bridge.delete(args.vrf, mac)
    report(args, f"deleted {mac_text(mac)} in VRF {args.vrf}", changed=True)
