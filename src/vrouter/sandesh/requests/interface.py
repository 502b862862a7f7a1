# SPDX-License-Identifier: Apache-2.0
"""vr_interface_req: the vifs."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from dataclasses import replace

from vrouter.dpcore import netdev
from vrouter.dpcore.errors import DeviceError, NoSuchEntry
from vrouter.dpcore.names import (
    MAX_VIFS,
    MIRROR_NONE,
    VIF_NONE,
    VLAN_NONE,
    DropReason,
    VifFlag,
    VifTransport,
    VifType,
)
from vrouter.dpcore.records import Vif
from vrouter.sandesh import convert
from vrouter.sandesh.codec import Message, encode
from vrouter.sandesh.context import Context, Handlers, Object, refuse_set, response, vrf_number
from vrouter.sandesh.devices import Device
from vrouter.sandesh.dumps import Dump
from vrouter.sandesh.errors import SandeshError, invalid, unsupported
from vrouter.sandesh.schema import ADD, DEL, DUMP, GET, RESET

NAME = "vr_interface_req"
_MADE = (VifTransport.PMD, VifTransport.SOCKET)
_MIRRORED = VifFlag.MIRROR_RX | VifFlag.MIRROR_TX
_HOST = (VifType.HOST, VifType.GATEWAY)
_DEVICE_MTU = 9160
_AGENT_MTU = 65535  # a trap is longer than the packet in it
_LAST_MTU = 65535
_FLAG_BITS = 0xFFFFFFFF
# upstream's, of a vif for which none was asked
_MTUS = {VifType.VIRTUAL: 9160, VifType.VIRTUAL_VLAN: 9160, VifType.STATS: 9136}
_MTU = 1514
_FAT_FLOW = (
    "vifr_fat_flow_protocol_port",
    "vifr_fat_flow_exclude_ip_list",
    "vifr_fat_flow_exclude_ip6_u_list",
    "vifr_fat_flow_exclude_ip6_l_list",
    "vifr_fat_flow_exclude_ip6_plen_list",
    "vifr_fat_flow_src_prefix_h",
    "vifr_fat_flow_src_prefix_l",
    "vifr_fat_flow_src_prefix_mask",
    "vifr_fat_flow_src_aggregate_plen",
    "vifr_fat_flow_dst_prefix_h",
    "vifr_fat_flow_dst_prefix_l",
    "vifr_fat_flow_dst_prefix_mask",
    "vifr_fat_flow_dst_aggregate_plen",
)


# ---- ADD ------------------------------------------------------------------------------


def add(context: Context, request: Message) -> None:
    """Adds the vif, or changes the one of that number."""
    context.check_router(request.vifr_rid)
    core = context.core
    with core.lock():
        if not 0 <= request.vifr_idx < MAX_VIFS:
            raise invalid(f"vifr_idx {request.vifr_idx}: vifs are 0 to {MAX_VIFS - 1}")
        old = core.vifs.get(request.vifr_idx)
        _check(context, request)
        if old is not None and _is_change(context, request, old):
            core.vifs.add(_wanted(request, old, old))
            return
        kind = VifType(request.vifr_type)
        if kind == VifType.VIRTUAL_VLAN:
            core.vifs.add(_subvif(context, request))
            return
        device, made = _device(context, request, kind)
        try:
            core.vifs.add(_wanted(request, _of_device(request, kind, device), None))
        except BaseException:
            if made:
                context.devices.remove(device.name)
            raise


def _check(context: Context, request: Message) -> None:
    """What is not there is refused; numbers that name nothing are no request."""
    try:
        VifType(request.vifr_type)
        VifTransport(request.vifr_transport)
    except ValueError as error:
        raise invalid(str(error)) from None
    refuse_set(request, "there are no fat flows", *_FAT_FLOW)
    refuse_set(request, "there is no PBB", "vifr_isid", "vifr_pbb_mac")
    refuse_set(request, "there is one underlay", "vifr_loopback_ip")
    if len([one for one in request.vifr_cross_connect_idx if one >= 0]) > 1:
        raise unsupported("vifr_cross_connect_idx names several vifs: there is one underlay")
    if len(request.vifr_src_mac) % convert.MAC:
        raise invalid(f"vifr_src_mac has {len(request.vifr_src_mac)} bytes: MACs have 6")
    if request.vifr_mtu < 0 or request.vifr_mtu > _LAST_MTU:
        raise invalid(f"vifr_mtu {request.vifr_mtu}: 0 (as is usual for the type) to {_LAST_MTU}")
    _check_metadata(context, request)


def _check_metadata(context: Context, request: Message) -> None:
    """Metadata belong to the mirror here, not to the vif."""
    for field in ("vifr_in_mirror_md", "vifr_out_mirror_md"):
        metadata = getattr(request, field)
        if metadata and request.vifr_flags & _MIRRORED:
            mirror = context.core.mirrors.get(request.vifr_mir_id)
            if mirror is None or mirror.metadata != metadata:
                raise unsupported(f"{field} is set: metadata are those of the mirror")


def _is_change(context: Context, request: Message, old: Vif) -> bool:
    """A vif whose netdevice is gone is made anew under its number."""
    if request.vifr_type != old.type:
        raise SandeshError(
            errno.EEXIST, f"vif0/{old.idx} is {old.name} of another type: delete it first"
        )
    if request.vifr_name and request.vifr_name != old.name:
        raise SandeshError(errno.EEXIST, f"vif0/{old.idx} is {old.name}: delete it first")
    return netdev.exists(old.ifindex)


def _wanted(request: Message, base: Vif, old: Vif | None) -> Vif:
    """`base`, with all that a request says of a vif; negative numbers leave what is there."""
    flags = VifFlag(0) | (request.vifr_flags & _FLAG_BITS)
    mirror = request.vifr_mir_id if int(flags) & _MIRRORED else None
    partners = [one for one in request.vifr_cross_connect_idx if one >= 0]
    # a Physical vif gets its partner from the Host vif that names it
    xconnect = partners[0] if partners and base.type == VifType.HOST else base.xconnect
    vrf, mcast_vrf = request.vifr_vrf, request.vifr_mcast_vrf
    if "vifr_mcast_vrf" not in request.fields:
        mcast_vrf = base.mcast_vrf
    if old is not None:
        vrf = old.vrf if vrf < 0 else vrf
        mcast_vrf = old.mcast_vrf if mcast_vrf < 0 else mcast_vrf
    mac = request.vifr_mac if request.vifr_mac or old is None else old.mac
    wanted = replace(
        base,
        vrf=vrf_number(vrf),
        mcast_vrf=vrf_number(mcast_vrf),
        mac=convert.mac_of(mac or bytes(convert.MAC), "vifr_mac"),
        flags=flags,
        nh_id=max(0, request.vifr_nh_id),
        ip=convert.ip_of(request.vifr_ip),
        ip6=convert.ip6_of(request.vifr_ip6_u, request.vifr_ip6_l),
        xconnect=xconnect,
        qos=request.vifr_qos_map_index,
        mirror=mirror,
        mtu=request.vifr_mtu or base.mtu,
    )
    if base.type != VifType.VIRTUAL_VLAN:
        return replace(
            wanted,
            vlan=_unless_unset(request.vifr_vlan_id),
            ovlan=_unless_unset(request.vifr_ovlan_id),
        )
    return replace(
        wanted,
        parent=request.vifr_parent_vif_idx,
        vlan=convert.optional(request.vifr_vlan_id & VLAN_NONE, VLAN_NONE),
        ovlan=convert.optional(request.vifr_ovlan_id & VLAN_NONE, VLAN_NONE),
        src_macs=_macs(request.vifr_src_mac),
    )


def _unless_unset(vlan: int) -> int | None:
    """Vifs that are no part of another have no VLAN: 0 and -1 say so, and no more."""
    return None if vlan in (0, -1) else vlan & VLAN_NONE


def _macs(raw: bytes) -> tuple[bytes, ...]:
    found = (raw[at : at + convert.MAC] for at in range(0, len(raw), convert.MAC))
    return tuple(mac for mac in found if any(mac))


def _subvif(context: Context, request: Message) -> Vif:
    parent = context.core.vifs.get(request.vifr_parent_vif_idx)
    if parent is None:
        raise invalid(f"vifr_parent_vif_idx {request.vifr_parent_vif_idx}: there is no such vif")
    base = Vif(
        idx=request.vifr_idx,
        name=request.vifr_name,
        type=VifType.VIRTUAL_VLAN,
        ifindex=parent.ifindex,
        os_ifindex=parent.os_ifindex,
        transport=VifTransport(request.vifr_transport),
    )
    return _wanted(request, base, None)


def _device(context: Context, request: Message, kind: VifType) -> tuple[Device, bool]:
    """The netdevice of a vif, and whether it was made for it."""
    name = request.vifr_name
    if not name and request.vifr_os_idx > 0:
        name = netdev.name(request.vifr_os_idx)
    found = context.devices.find(name)
    if found is not None:
        return found, False
    if kind != VifType.AGENT and request.vifr_transport not in _MADE:
        raise DeviceError(f"there is no netdevice {name!r} in this network namespace")
    mtu = _AGENT_MTU if kind == VifType.AGENT else request.vifr_mtu or _DEVICE_MTU
    return context.devices.make(name, mtu), True


def _of_device(request: Message, kind: VifType, device: Device) -> Vif:
    """A vif of this netdevice; what the host has is received on the inner end of a pair."""
    inner = device.ifindex
    if kind in _HOST and not device.ours:
        inner = _inner_end(device)
    return Vif(
        idx=request.vifr_idx,
        name=device.name,
        type=kind,
        ifindex=inner,
        os_ifindex=device.ifindex,
        transport=VifTransport(request.vifr_transport),
        # to a device of ours frames go by its queue, which completes their checksums
        peer=kind == VifType.VIRTUAL and device.peer_elsewhere and not device.ours,
    )


def _inner_end(device: Device) -> int:
    """Where what the host sends is received: the inner end of a vhost pair, or the device itself
    if the host has its far end."""
    with contextlib.suppress(DeviceError):
        return netdev.index(f"{device.name}i")
    if device.peer_elsewhere:
        return device.ifindex
    raise DeviceError(
        f"{device.name} has no inner end {device.name}i: make it with "
        f"`vif --create {device.name} --mac MAC`"
    )


# ---- DEL, RESET -----------------------------------------------------------------------


def delete(context: Context, request: Message) -> None:
    """Removes the vif, and its netdevice if the door has made it."""
    context.check_router(request.vifr_rid)
    with context.core.lock():
        vif = _find(context, request)
        context.core.vifs.delete(vif.idx)
        if vif.parent is None:
            context.devices.remove(vif.name)


def reset(context: Context, request: Message) -> None:
    """Sets the counters of a vif, or of all (-1), to zero."""
    context.check_router(request.vifr_rid)
    if request.vifr_core:
        raise unsupported("vifr_core is set: the counters of all CPUs are cleared at once")
    vifs = context.core.vifs
    context.settle()
    with context.core.lock():
        found = [_find(context, request)] if request.vifr_idx >= 0 else list(vifs.items())
        for vif in found:
            vifs.clear_stats(vif.idx)


# ---- GET, DUMP ------------------------------------------------------------------------


def get(context: Context, request: Message) -> Object:
    """One vif, by number, or by ifindex or name where the number is negative."""
    context.check_router(request.vifr_rid)
    cpu = _cpu(request)
    context.settle()
    vif = _find(context, request)
    return NAME, _fields(context, vif, cpu, context.leaving_by())


def dump(context: Context, request: Message) -> Dump:
    """All vifs, by number."""
    context.check_router(request.vifr_rid)
    cpu = _cpu(request)
    marker = None if request.vifr_marker < 0 else request.vifr_marker
    if marker is None:
        context.settle()
    users = context.leaving_by()

    def made(idx: int) -> bytes | None:
        vif = context.core.vifs.get(idx)
        if vif is None:
            return None
        try:
            return encode(NAME, _fields(context, vif, cpu, users))
        except NoSuchEntry:  # it goes just now
            return None

    def rows() -> list[int]:
        return [vif.idx for vif in context.core.vifs.items()]

    return Dump((NAME, cpu), rows, lambda idx: idx, marker, made)


def _cpu(request: Message) -> int | None:
    """Counters of one CPU, which a request numbers from 1; 0: all of them."""
    return None if request.vifr_core == 0 else int(request.vifr_core) - 1


def _find(context: Context, request: Message) -> Vif:
    vifs = context.core.vifs
    if request.vifr_idx >= 0:
        found = vifs.get(request.vifr_idx)
    elif request.vifr_os_idx > 0:
        ends = request.vifr_os_idx
        found = next((one for one in vifs.items() if ends in (one.os_ifindex, one.ifindex)), None)
    else:
        found = vifs.by_name(request.vifr_name)
    if found is None:
        what = request.vifr_idx if request.vifr_idx >= 0 else request.vifr_name
        raise SandeshError(errno.ENOENT, f"there is no vif {what}")
    return found


def _fields(context: Context, vif: Vif, cpu: int | None, users: Counter[int]) -> dict[str, object]:
    vifs = context.core.vifs
    stats, drops = vifs.stats(vif.idx, cpu), vifs.drops(vif.idx)
    upper, lower = convert.ip6_numbers(vif.ip6)
    lost = sum(count for why, count in drops.items() if why != DropReason.CLONED_ORIGINAL)
    mirror = context.core.mirrors.get(vif.mirror) if vif.mirror is not None else None
    metadata = mirror.metadata if mirror is not None else b""
    found = {
        **response(NAME)[1],
        "vifr_core": 0 if cpu is None else cpu + 1,
        "vifr_type": int(vif.type),
        "vifr_flags": int(vif.flags),
        "vifr_vrf": vif.vrf,
        "vifr_idx": vif.idx,
        "vifr_os_idx": vif.os_ifindex,
        "vifr_mtu": vif.mtu or _MTUS.get(vif.type, _MTU),
        "vifr_name": vif.name,
        "vifr_ibytes": stats.rx_bytes,
        "vifr_ipackets": stats.rx_packets,
        "vifr_ierrors": stats.rx_errors,
        "vifr_obytes": stats.tx_bytes,
        "vifr_opackets": stats.tx_packets,
        "vifr_oerrors": stats.tx_errors,
        "vifr_dpackets": lost,
        "vifr_ref_cnt": 1 + users[vif.idx],
        "vifr_mac": vif.mac,
        "vifr_ip": convert.ip_number(vif.ip),
        "vifr_ip6_u": upper,
        "vifr_ip6_l": lower,
        "vifr_mir_id": MIRROR_NONE if vif.mirror is None else vif.mirror,
        "vifr_in_mirror_md": metadata if vif.flags & VifFlag.MIRROR_RX else b"",
        "vifr_out_mirror_md": metadata if vif.flags & VifFlag.MIRROR_TX else b"",
        "vifr_vlan_id": VLAN_NONE if vif.vlan is None else vif.vlan,
        "vifr_ovlan_id": VLAN_NONE if vif.ovlan is None else vif.ovlan,
        "vifr_parent_vif_idx": -1 if vif.parent is None else vif.parent,
        "vifr_nh_id": vif.nh_id,
        "vifr_cross_connect_idx": () if vif.xconnect in (None, VIF_NONE) else (vif.xconnect,),
        "vifr_src_mac": b"".join(vif.src_macs),
        "vifr_transport": int(vif.transport),
        "vifr_qos_map_index": vif.qos,
        "vifr_mcast_vrf": vif.mcast_vrf,
    }
    if vif.type != VifType.VIRTUAL_VLAN:
        found |= _of_netdevice(vif)
    return found


def _of_netdevice(vif: Vif) -> dict[str, object]:
    with contextlib.suppress(DeviceError):
        name = netdev.name(vif.os_ifindex)
        found: dict[str, object] = {"vifr_intf_status": int(netdev.is_up(name))}
        if vif.type == VifType.PHYSICAL:
            mode = netdev.link_mode(name)
            found["vifr_speed"] = mode.speed or 0
            found["vifr_duplex"] = mode.duplex or 0
        return found
    return {}


HANDLERS: Handlers = {NAME: {ADD: add, DEL: delete, GET: get, DUMP: dump, RESET: reset}}
