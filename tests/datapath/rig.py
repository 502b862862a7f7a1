# SPDX-License-Identifier: Apache-2.0
"""A dp-core in test mode that holds the tables of a model's state.

Its netdevices are veths whose far ends stay down, without IPv6: nothing moves but the
packets of the tests.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from tests.model import packet as model
from tests.model.const import RouteFlag as ModelRouteFlag
from tests.model.const import Trap, Verdict, VifType
from tests.model.forward import forward
from tests.model.state import Nexthop, State, Vif
from vrouter.dpcore import exception, libbpf, loader, records
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.maps import open_map
from vrouter.dpcore.names import (
    BridgeFlag,
    Family,
    HashField,
    NhFlag,
    NhType,
    RouteFlag,
    VifFeature,
    VifFlag,
)
from vrouter.dpcore.names import VifType as CoreVifType
from vrouter.dpcore.ringbuf import RingReader
from vrouter.dpcore.sizes import SMALL
from vrouter.dpcore.testrun import test_run as run_program

from .states import GONE

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)
ROLES = {
    "dhcp": VifFeature.DHCP_SERVER,
    "router": VifFeature.ROUTER,
    "bridge": VifFeature.BRIDGE,
}
_REDIRECT, _SHOT = 7, 2
_ORDER = (
    *(VifType.PHYSICAL, VifType.HOST, VifType.AGENT, VifType.VIRTUAL, VifType.VIRTUAL_VLAN),
    *(VifType.GATEWAY, VifType.MONITORING, VifType.STATS),
)


@contextmanager
def own_netns() -> Iterator[None]:
    """The calling thread is in a new, empty network namespace inside the block."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        yield
    finally:
        if _libc.setns(back, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(back)


class Rig:
    """One loaded dp-core. `outcome` gives what it did with a frame, as the model would say it.

    `program`: its fd; `pair`: ifindex of the end of the exception pair where packets come back.
    """

    def __init__(self, instance: Instance, state: State, object_path: Path | None = None) -> None:
        loader.load(
            instance,
            SMALL,
            object_path=object_path,
            test_mode=True,
        )
        # what is learnt must not stay in the state of others
        self.state = state = state.copy(state.name)
        self.core = DpCore.open(instance)
        self._ifindex: dict[int, int] = {}
        self.pair = 0
        with self.core.lock():
            self._program(state)
        self.program = libbpf.obj_get(instance.prog_dir / "vr_dpcore")
        self._ring = open_map(instance.map_path("test_copies"))
        self._copies = RingReader(self._ring)
        self._copy_layout = self.core.layouts.layout("vr_test_copy")
        self._index = {key: self._bridge_index(key) for key in state.bridge}

    def close(self) -> None:
        """Closes what is open; the instance stays loaded."""
        self._copies.close()
        self._ring.close()
        os.close(self.program)
        self.core.close()

    def outcome(self, vif: int, frame: bytes) -> model.Outcome:
        """What dp-core did with the frame; its counters are left out (see `counters`)."""
        result = run_program(self.program, frame, self._ifindex[vif])
        verdict, out_vif, reason, tag = result.cb[:4]
        kind = Verdict(verdict)
        sent = kind in (Verdict.TX, Verdict.TRAP)
        assert result.retval == (_REDIRECT if sent else _SHOT), result
        copies = [self._copy(raw) for raw in self._copies.read()]
        if any(copy.kind == Verdict.TRAP for copy in copies):
            self.core.bridge.refill()
        marks = (result.cb[4] >> 16, result.cb[4] & 0xFFFF) if kind == Verdict.TX else (0, 0)
        return model.Outcome(
            kind,
            out_vif if sent else None,
            reason,
            _tagged(result.packet_out, tag) if sent else b"",
            copies,
            marks=marks,
        )

    def inject(self, vif: int, frame: bytes) -> None:
        """Runs a packet; what becomes of it only counters tell, and its copies stay unread."""
        run_program(self.program, frame, self._ifindex[vif])

    def _copy(self, raw: bytes) -> model.Copy:
        copy = self._copy_layout.unpack(raw)
        data = _tagged(copy["data"][: copy["len"]], copy["vlan"])
        if copy["reason"] in (Trap.MAC_LEARN, Trap.MAC_MOVE):
            data = self._without_index(data, copy["reason"])
        return model.Copy(copy["vif"], Verdict(copy["kind"]), copy["reason"], data)

    def _without_index(self, frame: bytes, reason: int) -> bytes:
        """A trap of learning whose parameter, the index of the sender's entry, is set to 0."""
        vrf, _, index = struct.unpack_from("!HHI", frame, 16)
        entry = self.core.bridge.by_index(index)
        flag = BridgeFlag.MAC_NEW if reason == Trap.MAC_LEARN else BridgeFlag.MAC_MOVED
        assert entry is not None and entry.flags & flag, entry
        assert (entry.vrf, entry.mac) == (vrf, frame[50:56]), entry
        assert self.core.bridge.get(vrf, entry.mac) == entry
        return frame[:20] + bytes(4) + frame[24:]

    def ifindex(self, vif: int) -> int:
        """Of the vif's netdevice."""
        return self._ifindex[vif]

    def counters(self) -> Counter[model.Key]:
        """All counters that a packet may move, by the model's keys."""
        found: Counter[model.Key] = Counter()
        for reason, count in self.core.stats.drops().items():
            found["drop", int(reason)] = count
        for idx in self.state.vifs:
            stats = self.core.vifs.stats(idx)
            for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
                found[name, idx] = getattr(stats, name)
            for reason, count in self.core.vifs.drops(idx).items():
                found["vif_drop", idx, int(reason)] = count
        for vrf in range(self.state.vrfs):
            for name, count in vars_of(self.core.stats.vrf(vrf)):
                found["vrf", vrf, name] = count
        for vrf, mac in self.state.bridge:
            index = self._index.get((vrf, mac))
            bridge = self.core.bridge
            entry = bridge.get(vrf, mac) if index is None else bridge.by_index(index)
            found["bridge", vrf, mac.hex()] = 0 if entry is None else entry.packets
            found["heard", vrf, mac.hex()] = 0 if entry is None else entry.heard
        return found

    def _bridge_index(self, key: tuple[int, bytes]) -> int:
        entry = self.core.bridge.get(*key)
        assert entry is not None
        return entry.index

    def _program(self, state: State) -> None:
        # a model has no clock
        self.core.config.set(hash_seed=state.hash_seed, trap_rate=0, icmp_rate=0)
        clamp = int(state.mss_from_vm) | int(state.mss_to_vm) << 1
        self.core.config.set(icmp_errors=int(state.icmp_trap), mss_clamp=clamp)
        if state.exception:
            self._add_pair()
        order = sorted(state.vifs.values(), key=lambda vif: _ORDER.index(vif.type))
        for vif in order:
            self._add_vif(vif)
        # A nexthop's vif must exist when it is written, and may go afterwards.
        self._add_vif(Vif(GONE, VifType.VIRTUAL, bytes(6), 1))
        for nh in state.nexthops.values():
            if nh.id:
                self.core.nexthops.put(_nexthop(nh))
        self.core.vifs.delete(GONE)
        for entry in state.bridge.values():
            flags = BridgeFlag.FLOOD_DHCP if entry.flood_dhcp else 0
            self.core.bridge.put(entry.vrf, entry.mac, entry.nh, entry.label, flags)
        self._program_copies(state)
        for label, nh_id in state.mpls.items():
            self.core.mpls.put(label, nh_id)
        for vni, nh_id in state.vxlan.items():
            self.core.vxlan.put(vni, nh_id)
        for route in state.routes.values():
            stitched = state.stitched(route)
            index = 0 if stitched is None else self._bridge_index((route.vrf, stitched.mac))
            flags = RouteFlag(int(route.flags & ~ModelRouteFlag.LABEL_VALID))
            self.core.routes_of(route.prefix).put(
                records.Route(
                    vrf=route.vrf,
                    prefix=route.prefix,
                    nh=route.nh,
                    label=route.label,
                    flags=flags,
                    bridge=index,
                )
            )

    def _program_copies(self, state: State) -> None:
        for index, one in state.mirrors.items():
            mirror = records.Mirror(
                index=index,
                nh=one.nh,
                vni=one.vni,
                dynamic=bool(one.metadata),
                metadata=one.metadata,
            )
            self.core.mirrors.put(mirror)
        for fc, marks in state.classes.items():
            self.core.qos.put_class(records.ForwardingClass(id=fc, **asdict(marks)))
        for index, qos in state.qos_maps.items():
            self.core.qos.put(records.QosMap(index=index, dscp=qos.dscp, dot1p=qos.dot1p))

    def _add_pair(self) -> None:
        _ip("link add vrx0 mtu 65535 type veth peer name vrx1 mtu 65535")
        for end in ("vrx0", "vrx1"):
            _ip(f"link set {end} up")
        out, self.pair = (socket.if_nametoindex(end) for end in ("vrx0", "vrx1"))
        exception.tie(self.core, out, self.pair)

    def _add_vif(self, vif: Vif) -> None:
        name = f"d{vif.idx}"
        if vif.parent is not None:
            self._ifindex[vif.idx] = self._ifindex[vif.parent]
            self._add_record(vif, name, self._ifindex[vif.parent])
            return
        _ip(f"link add {name} mtu {vif.mtu} type veth peer name {name}p")
        # A copy that comes in again is taken by a device that is up only.
        _ip(f"link set {name} up")
        number = self._ifindex[vif.idx] = socket.if_nametoindex(name)
        self._add_record(vif, name, number)

    def _add_record(self, vif: Vif, name: str, number: int) -> None:
        partner = vif.xconnect if vif.type == VifType.HOST else None
        added = self.core.vifs.add(
            records.Vif(
                idx=vif.idx,
                name=name,
                type=CoreVifType(vif.type),
                vrf=vif.vrf,
                mac=vif.mac,
                flags=VifFlag(int(vif.flags)),
                ifindex=number,
                os_ifindex=number,
                mcast_vrf=vif.mcast_vrf,
                xconnect=partner,
                parent=vif.parent,
                vlan=vif.vlan,
                ovlan=vif.ovlan,
                src_macs=vif.src_macs,
                nh_id=vif.nh_id,
                mirror=vif.mirror,
                qos=vif.qos,
                gateway=IPv4Address(vif.gateway) if any(vif.gateway) else None,
                gateway6=IPv6Address(vif.gateway6) if any(vif.gateway6) else None,
            )
        )
        self._set_sources(vif)
        wanted = VifFlag(int(vif.flags))
        added = self.core.vifs.get(vif.idx) or added
        if (added.flags ^ wanted) & VifFlag.XCONNECT:
            self.core.vifs.change(replace(added, flags=wanted))

    def _set_sources(self, vif: Vif) -> None:
        if vif.sources is None:
            return
        pairs = [records.Source(mac=pair.mac, prefix=pair.prefix) for pair in vif.sources]
        self.core.vifs.set_sources(vif.idx, pairs)
        now = self.core.vifs.get(vif.idx)
        assert now is not None
        features = sum(ROLES[role] for role in vif.trusted)
        self.core.vifs.change(replace(now, features=now.features | VifFeature(features)))


def _tagged(frame: bytes, tag: int) -> bytes:
    """The frame with the tag that the kernel notes beside it, if there is one."""
    return frame[:12] + tag.to_bytes(4, "big") + frame[12:] if tag else frame


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


def _nexthop(nh: Nexthop) -> records.Nexthop:
    tunnel = int(nh.type) == NhType.TUNNEL
    return records.Nexthop(
        id=nh.id,
        type=NhType(nh.type),
        family=Family(nh.family),
        flags=NhFlag(int(nh.flags)),
        vrf=nh.vrf,
        oif=nh.oif,
        sip=ip_address(nh.sip) if tunnel else None,
        dip=ip_address(nh.dip) if tunnel else None,
        rewrite=nh.rewrite,
        rw_dst_mac=nh.rw_dst_mac if tunnel else None,
        members=tuple(records.Member(nh=one.nh, label=one.label) for one in nh.members),
        hash_fields=HashField(nh.hash_fields),
        sport=nh.sport,
        dport=nh.dport,
    )


def expected(state: State, vif: int, frame: bytes) -> model.Outcome:
    """What the model does with the frame."""
    return forward(state, vif, frame)


@contextmanager
def rig(state: State, object_path: Path | None = None) -> Iterator[Rig]:
    """A rig in a namespace of its own; nothing of it is left afterwards.

    $VR_OBJECT names another object than the one that was built (seeded bugs).
    """
    instance = Instance(f"t-{os.getpid()}-rig{next(_numbers)}")
    if object_path is None and "VR_OBJECT" in os.environ:
        object_path = Path(os.environ["VR_OBJECT"])
    with own_netns():
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        one = None
        try:
            one = Rig(instance, state, object_path)
            yield one
        finally:
            if one is not None:
                one.close()
            loader.unload(instance)


def vars_of(stats: records.VrfStats) -> list[tuple[str, int]]:
    """Names and values of a record of counters."""
    return [(field.name, getattr(stats, field.name)) for field in fields(stats)]
