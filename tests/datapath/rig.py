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
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from tests.model import packet as model
from tests.model.const import RouteFlag as ModelRouteFlag
from tests.model.const import Verdict, VifType
from tests.model.forward import forward
from tests.model.state import Nexthop, State, Vif
from vrouter.dpcore import exception, libbpf, loader, records
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.maps import open_map
from vrouter.dpcore.names import Family, NhFlag, NhType, RouteFlag, VifFlag
from vrouter.dpcore.names import VifType as CoreVifType
from vrouter.dpcore.ringbuf import RingReader
from vrouter.dpcore.sizes import SMALL
from vrouter.dpcore.testrun import test_run as run_program

from .states import GONE

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)
_REDIRECT, _SHOT = 7, 2
_EXCEPTION = 4
_ORDER = VifType.PHYSICAL, VifType.HOST, VifType.AGENT, VifType.VIRTUAL, VifType.STATS


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
    """One loaded dp-core. `run` gives what it did with a frame, as the model would say it."""

    def __init__(self, instance: Instance, state: State, object_path: Path | None = None) -> None:
        loader.load(
            instance,
            SMALL,
            object_path=object_path,
            test_mode=True,
        )
        self.state = state
        self.core = DpCore.open(instance)
        self._ifindex: dict[int, int] = {}
        with self.core.lock():
            self._program(state)
        self._prog = libbpf.obj_get(instance.prog_dir / "vr_dpcore")
        self._ring = open_map(instance.map_path("test_copies"))
        self._copies = RingReader(self._ring)
        self._copy_layout = self.core.layouts.layout("vr_test_copy")
        self._index = {key: self._bridge_index(key) for key in state.bridge}

    def close(self) -> None:
        """Closes what is open; the instance stays loaded."""
        self._copies.close()
        self._ring.close()
        os.close(self._prog)
        self.core.close()

    def outcome(self, vif: int, frame: bytes) -> model.Outcome:
        """What dp-core did with the frame; its counters are left out (see `counters`)."""
        outcome = self._run(frame, self._ifindex[vif])
        if int(outcome.verdict) == _EXCEPTION:
            (copy,) = outcome.copies
            return self._run(copy.frame, self._exception, mark=copy.reason)
        copies: list[model.Copy] = []
        for copy in outcome.copies:
            copies += self._through_pair(copy) if int(copy.kind) == _EXCEPTION else [copy]
        outcome.copies = copies
        return outcome

    def _run(self, frame: bytes, ifindex: int, mark: int = 0) -> model.Outcome:
        """One pass; what it sent into the exception pair is a copy, whose reason is its mark."""
        result = run_program(self._prog, frame, ifindex, mark=mark)
        verdict, out_vif, reason = result.cb[:3]
        sent = verdict in (Verdict.TX, Verdict.TRAP)
        assert result.retval == (_REDIRECT if sent else _SHOT), result
        copies = [self._copy(raw) for raw in self._copies.read()]
        out = out_vif if sent else None
        frame = result.packet_out if sent else b""
        return model.Outcome(verdict, out, reason, frame, copies)  # type: ignore[arg-type]

    def _through_pair(self, copy: model.Copy) -> list[model.Copy]:
        """What becomes of a packet behind the exception pair, which a test has to walk itself."""
        outcome = self._run(copy.frame, self._exception, mark=copy.reason)
        if outcome.out_vif is None:
            return outcome.copies
        last = model.Copy(outcome.out_vif, Verdict.TX, 0, outcome.frame)
        return [*outcome.copies, last]

    def _copy(self, raw: bytes) -> model.Copy:
        copy = self._copy_layout.unpack(raw)
        data = copy["data"][: copy["len"]]
        return model.Copy(copy["vif"], copy["kind"], copy["reason"], data)

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
        for (vrf, mac), index in self._index.items():
            entry = self.core.bridge.by_index(index)
            found["bridge", vrf, mac.hex()] = 0 if entry is None else entry.packets
        return found

    def _bridge_index(self, key: tuple[int, bytes]) -> int:
        entry = self.core.bridge.get(*key)
        assert entry is not None
        return entry.index

    def _program(self, state: State) -> None:
        # a model has no clock
        self.core.config.set(hash_seed=state.hash_seed, icmp_rate=0)
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
            self.core.bridge.put(entry.vrf, entry.mac, entry.nh, entry.label)
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

    def _add_pair(self) -> None:
        _ip("link add vrx0 type veth peer name vrx1")
        self._exception = socket.if_nametoindex("vrx1")
        out = socket.if_nametoindex("vrx0")
        exception.tie(self.core, out, self._exception)

    def _add_vif(self, vif: Vif) -> None:
        name = f"d{vif.idx}"
        _ip(f"link add {name} mtu {vif.mtu} type veth peer name {name}p")
        # A copy that comes in again is taken by a device that is up only.
        _ip(f"link set {name} up")
        number = self._ifindex[vif.idx] = socket.if_nametoindex(name)
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
                gateway=IPv4Address(vif.gateway) if any(vif.gateway) else None,
                gateway6=IPv6Address(vif.gateway6) if any(vif.gateway6) else None,
            )
        )
        wanted = VifFlag(int(vif.flags))
        if (added.flags ^ wanted) & VifFlag.XCONNECT:
            self.core.vifs.change(replace(added, flags=wanted))


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
