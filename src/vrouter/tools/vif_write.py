# SPDX-License-Identifier: Apache-2.0
"""The writing half of `vif`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.errors import DeviceError, NoSuchEntry, Refused, UsageError
from vrouter.dpcore.labels import VIF_TRANSPORT_NAMES, VIF_TYPE_LABELS, VIF_TYPE_NAMES
from vrouter.dpcore.names import VifFlag, VifTransport, VifType
from vrouter.dpcore.records import Vif
from vrouter.tools.common import open_core, open_instance, report
from vrouter.tools.linkinfo import LinkInfo, link
from vrouter.tools.vif_show import find_vif
from vrouter.tools.words import mac_text

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore

SUPPORTED_TRANSPORTS = (VifTransport.ETH, VifTransport.VIRTUAL)
# Flags that dp-core and the cross-connect set by themselves; a request says nothing of them.
NOT_ASKED = VifFlag.XCONNECT | VifFlag.TX_CSUM | VifFlag.VLAN_OFFLOAD | VifFlag.GRO_NEEDED
NOT_ASKED |= VifFlag.MRG_RXBUF | VifFlag.MIRROR_RX | VifFlag.MIRROR_TX
_GATEWAYS = {4: "gateway", 6: "gateway6"}


def create(args: argparse.Namespace) -> None:
    """`vif --create NAME --mac M`: the vhost device, not yet a vif."""
    from vrouter.host import vhost  # noqa: PLC0415 - pyroute2 takes 240 ms

    with open_instance(args).enter_netns():
        made = vhost.create(args.mac, name=args.create)
        if not made:
            _check_pair(args)
    text = f"made device {args.create}" if made else f"device {args.create} exists already"
    report(args, text if made else f"{text}; nothing changed", changed=made)


def _check_pair(args: argparse.Namespace) -> None:
    """The device that is there already must be the one that is asked for."""
    there = link(args.create)
    try:
        link(f"{args.create}i")
    except DeviceError:
        raise DeviceError(
            f"{args.create} exists and is no vhost device; choose another name"
        ) from None
    if there.mac != args.mac:
        raise DeviceError(
            f"{args.create} exists with MAC {mac_text(there.mac)}; change that with "
            f"`ip link set {args.create} address {mac_text(args.mac)}`"
        )


def add(args: argparse.Namespace) -> None:
    """`vif --add NAME`: a vif of an existing device."""
    transport = VIF_TRANSPORT_NAMES[args.transport or "eth"]
    if transport not in SUPPORTED_TRANSPORTS:
        raise Refused(
            f"--transport {args.transport} is refused: there is no DPDK data plane; use eth"
        )
    with open_core(args) as core, core.instance.enter_netns(), core.lock():
        wanted = _vif_of(core, args, transport)
        before = core.vifs.by_name(args.add)
        if before is None:
            stored = core.vifs.add(wanted)
            did = "added"
        elif args.id is not None and args.id != before.idx:
            raise Refused(f"{args.add} is vif0/{before.idx} already; delete that first")
        elif _same(before, wanted := _over(before, wanted)):
            text = f"vif0/{before.idx} ({args.add}) is so already; nothing changed"
            report(args, text, changed=False)
            return
        elif before.ifindex != wanted.ifindex or before.type != wanted.type:
            raise Refused(
                f"vif0/{before.idx} is {args.add} as another device or type; delete that first"
            )
        else:
            stored = core.vifs.change(wanted)
            did = "changed"
    kind = VIF_TYPE_LABELS[stored.type]
    report(args, f"{did} vif0/{stored.idx} ({stored.name}, {kind})", changed=True)


def _over(before: Vif, wanted: Vif) -> Vif:
    """`wanted`, with what no option of the command speaks of as it was."""
    unspoken = ["idx", "nh_id", "ip", "ip6", "mcast_vrf", "qos", "mirror", "mtu"]
    unspoken += [name for name in _GATEWAYS.values() if getattr(wanted, name) is None]
    kept = {name: getattr(before, name) for name in unspoken}
    crossed = before.flags & (VifFlag.XCONNECT | VifFlag.MIRROR_RX | VifFlag.MIRROR_TX)
    return replace(wanted, flags=wanted.flags | crossed, **kept)


def _same(before: Vif, wanted: Vif) -> bool:
    """Whether `wanted` asks for nothing new. L2 and L3 are both set where neither is asked."""
    asked = VifFlag.L2 | VifFlag.L3
    flags = (before.flags & ~NOT_ASKED, wanted.flags & ~NOT_ASKED)
    if not flags[1] & asked:
        flags = (flags[0] & ~asked, flags[1])
    keys: tuple[str, ...] = ("type", "vrf", "mac", "ifindex", "os_ifindex", "transport", "peer")
    keys += ("parent", "vlan", "ovlan", "src_macs", *_GATEWAYS.values())
    partner = wanted.xconnect is None or wanted.xconnect == before.xconnect
    return (
        flags[0] == flags[1]
        and partner
        and all(getattr(before, key) == getattr(wanted, key) for key in keys)
    )


def _vif_of(core: DpCore, args: argparse.Namespace, transport: VifTransport) -> Vif:
    kind = VIF_TYPE_NAMES[args.type]
    if kind == VifType.VIRTUAL_VLAN:
        return _subvif_of(core, args)
    for option in ("vif", "vlan", "ovlan", "src_mac"):
        if getattr(args, option) is not None:
            name = option.replace("_", "-")
            raise UsageError(f"--{name} goes with --type virtual-vlan; leave it out")
    device = link(args.add)
    if device.loopback:
        raise DeviceError(f"{args.add} is the loopback device; a vif has a device of its own")
    inner = _inner_end(args.add) if kind in (VifType.HOST, VifType.GATEWAY) else device
    if args.xconnect is not None and kind != VifType.HOST:
        raise UsageError("--xconnect goes with --type vhost; leave it out")
    return Vif(
        idx=core.vifs.free_idx(device.ifindex) if args.id is None else args.id,
        name=args.add,
        type=kind,
        ifindex=inner.ifindex,
        os_ifindex=device.ifindex,
        vrf=args.vrf,
        mac=args.mac,
        flags=_flags(args),
        xconnect=None if args.xconnect is None else _partner(core, args.xconnect),
        transport=transport,
        peer=kind == VifType.VIRTUAL and device.peer_elsewhere,
        **_gateways(args),
    )


def _subvif_of(core: DpCore, args: argparse.Namespace) -> Vif:
    """A part of another vif; its name is no device's."""
    if args.vif is None or args.vlan is None:
        raise UsageError("--type virtual-vlan needs --vif and --vlan; add them")
    parent = find_vif(core, args.vif)
    return Vif(
        idx=core.vifs.free_idx(-1) if args.id is None else args.id,
        name=args.add,
        type=VifType.VIRTUAL_VLAN,
        ifindex=parent.ifindex,
        os_ifindex=parent.os_ifindex,
        vrf=args.vrf,
        mac=args.mac,
        flags=_flags(args),
        parent=parent.idx,
        vlan=args.vlan,
        ovlan=args.vlan if args.ovlan is None else args.ovlan,
        src_macs=tuple(args.src_mac or ()),
    )


def _gateways(args: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for address in args.gateway or []:
        name = _GATEWAYS[address.version]
        if name in found:
            raise UsageError(f"--gateway {address}: there is one of IPv{address.version} already")
        found[name] = address
    return found


def _inner_end(name: str) -> LinkInfo:
    """The end of a vhost pair on which dp-core receives: it has an i after the name."""
    try:
        return link(f"{name}i")
    except DeviceError:
        raise DeviceError(
            f"{name} has no inner end {name}i; make it with `vif --create {name} --mac MAC`"
        ) from None


def _flags(args: argparse.Namespace) -> VifFlag:
    flags = VifFlag(0)
    for given, bit in (
        (args.policy, VifFlag.POLICY),
        (args.vhost_phys, VifFlag.VHOST_PHYS),
        (args.dhcp_enable, VifFlag.DHCP),
    ):
        flags |= bit if given else VifFlag(0)
    return flags if args.flags is None else flags & ~args.flags[1] | args.flags[0]


def _partner(core: DpCore, text: str) -> int:
    names = text.split(",")
    if len(names) > 1:
        raise Refused("--xconnect with several devices comes with a later release; give one")
    found = core.vifs.by_name(names[0])
    if found is None:
        raise NoSuchEntry(f"--xconnect {names[0]}: no vif of that device; add the physical first")
    if found.type != VifType.PHYSICAL:
        raise DeviceError(f"--xconnect {names[0]}: that vif is not physical; name the NIC")
    return found.idx


def delete(args: argparse.Namespace) -> None:
    """`vif --delete VIF`: the vif goes, its device stays."""
    with open_core(args) as core, core.instance.enter_netns(), core.lock():
        try:
            vif = find_vif(core, args.delete)
        except NoSuchEntry:
            report(args, f"no vif {args.delete}; nothing changed", changed=False)
            return
        core.vifs.delete(vif.idx)
    report(args, f"deleted vif0/{vif.idx} ({vif.name})", changed=True)


def clear(args: argparse.Namespace) -> None:
    """`vif --clear [--id N] [--core N]`."""
    with open_core(args) as core, core.lock():
        if args.id is not None:
            vifs = [find_vif(core, str(args.id))]
        else:
            vifs = list(core.vifs.items())
        for vif in vifs:
            core.vifs.clear_stats(vif.idx, args.core)
    what = f"vif0/{args.id}" if args.id is not None else f"{len(vifs)} vifs"
    where = "" if args.core is None else f" on CPU {args.core}; drops are not counted by CPU"
    report(args, f"cleared the counters of {what}{where}", changed=True)
