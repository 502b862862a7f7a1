# SPDX-License-Identifier: Apache-2.0
"""A packet on its way, and the only exits it can leave by: send, trap, drop."""

from collections import Counter
from dataclasses import dataclass, field

from .const import Drop, Trap, Verdict, VifFlag, VifType
from .state import Mirror, State, Vif
from .wire import AGENT_HDR, ETH_LEN, L2, TAG_LEN, ether, is_tagged, parse_l2, strip_tags

Key = tuple[str | int, ...]
"""A counter's name: ("drop", reason), ("vif_drop", vif, reason), ("rx_packets", vif), rx_bytes,
tx_packets and tx_bytes likewise, ("vrf", vrf, name), ("bridge", vrf, mac in hex),
("heard", vrf, mac in hex)."""

Built = tuple[Vif, bytes] | Drop
"""A frame and the vif that it leaves by, or why there is none."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A packet sent besides the one that the verdict is about."""

    vif: int
    kind: Verdict
    reason: int
    frame: bytes


def tagged_for(vif: Vif, frame: bytes, priority: int) -> bytes:
    """The frame as it leaves by the vif: a Virtual VLAN vif puts its tag on, with the priority;
    VLAN 0 stands for untagged."""
    if not vif.ovlan:
        return frame
    tci = priority << 13 | vif.ovlan
    return frame[:12] + b"\x81\x00" + tci.to_bytes(2, "big") + frame[12:]


@dataclass(slots=True)
class Outcome:
    """What became of a packet; `frame` is empty for a dropped one. `marks`: queue + 1 and priority
    of a sent one that has a forwarding class."""

    verdict: Verdict
    out_vif: int | None
    reason: int
    frame: bytes
    copies: list[Copy] = field(default_factory=list)
    counters: "Counter[Key]" = field(default_factory=Counter)
    marks: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A copy for a mirror, of a packet that came in by `vif`."""

    vif: Vif
    mirror: Mirror
    frame: bytes


@dataclass
class Packet:
    """A packet between two stages.

    `frame` always begins with an L2 header: that of a decapsulated L3 payload is the outer
    one with the payload's EtherType. `l3` tells that a route look-up, or a decapsulation to
    L3, made the L3 packet the payload. `outer_src` is the source of the tunnel it came by;
    `uuc_flood`, that the VRF translate nexthop it passed last floods unknown unicast;
    `not_to_vms`, that it is ARP of another host's gateway; `diag`, that it is a probe of the
    agent's; `label_nh` is the nexthop that its label or VNI named. `mirrored`: it is a mirror's
    copy, which gets `metadata`; `encapped`: our outer header is on; `marks`: queue + 1 and
    priority; `priority` is the 802.1p of a tag that was taken off; `deferred`: copies for mirrors,
    which are sent once it has ended; `mirror_later`: what is inside is to be mirrored once it is
    out; `encapped_ip`: it was put into a UDP tunnel as IP.
    """

    state: State
    vif: Vif
    frame: bytes
    vrf: int
    l3: bool = False
    label: int | None = None
    outer_src: bytes | None = None
    lookups: int = 0
    uuc_flood: bool = False
    not_to_vms: bool = False
    diag: bool = False
    label_nh: int | None = None
    mirrored: bool = False
    mirror_later: bool = False
    encapped_ip: bool = False
    encapped: bool = False
    metadata: bytes = b""
    marks: tuple[int, int] = (0, 0)
    priority: int | None = None
    deferred: list[Mirrored] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    counters: "Counter[Key]" = field(default_factory=Counter)

    @property
    def l2(self) -> L2:
        """The L2 header of the frame as it is now."""
        return parse_l2(self.frame)

    @property
    def l3_data(self) -> bytes:
        """The frame behind its L2 header."""
        return self.frame[self.l2.length :]

    @property
    def tunnelled(self) -> bool:
        """Whether it came out of a tunnel."""
        return self.outer_src is not None

    @property
    def from_fabric(self) -> bool:
        """Whether the fabric brought it: what a UDP tunnel wraps is a packet of this host."""
        return self.vif.type == VifType.PHYSICAL and not self.encapped

    def count_vrf(self, name: str) -> None:
        """Add one to a counter of the packet's VRF."""
        if self.vrf < self.state.vrfs:
            self.counters["vrf", self.vrf, name] += 1

    def count_drop(self, reason: Drop) -> None:
        """Count a drop, globally and on the vif that the packet came by."""
        self.counters["drop", int(reason)] += 1
        self.counters["vif_drop", self.vif.idx, int(reason)] += 1

    def drop(self, reason: Drop) -> Outcome:
        """The exit of all drops."""
        self.count_drop(reason)
        return self._end(Verdict.DROP, None, reason, b"")

    def send(self, vif: Vif | None, frame: bytes) -> Outcome:
        """Send out of a vif: INVALID_IF without one, TOO_BIG above its MTU.

        The host's stack gets the frame untagged, and addressed to it if it is a VM's.
        """
        if vif is not None and vif.is_host:
            frame = strip_tags(frame)
            if self.vif.is_vm:
                frame = vif.mac + frame[6:]
        reason = self.unsendable(vif, frame)
        if vif is None or reason is not None:
            return self.drop(reason or Drop.INVALID_IF)
        frame = self._leaving(vif, frame)
        return self._end(Verdict.TX, vif.idx, 0, frame)

    def send_copy(self, vif: Vif | None, frame: bytes) -> None:
        """Send a copy, as it is; when it cannot be sent only the drop is counted."""
        reason = self.unsendable(vif, frame)
        if vif is None or reason is not None:
            self.count_drop(reason or Drop.INVALID_IF)
            return
        frame = self._leaving(vif, frame)
        self.copies.append(Copy(vif.idx, Verdict.TX, 0, frame))

    def _leaving(self, vif: Vif, frame: bytes) -> bytes:
        """Mirrors and counts what leaves by a vif; the frame as it does. What a part of a vif
        sends is mirrored as sent by that vif too."""
        self.mirror_sent(vif, frame)
        frame = tagged_for(vif, frame, self._priority())
        parent = self.vif_of(vif.parent)
        if parent is not None:
            self.mirror_sent(parent, frame)
        self._count_tx(vif, frame)
        return frame

    def mirror_received(self) -> None:
        """A copy of what a vif with the flag receives; of the agent's none."""
        if self.vif.has(VifFlag.MIRROR_RX) and self.vif.type != VifType.AGENT:
            self._mirror(self.vif, self.frame)

    def mirror_opened(self) -> None:
        """A copy of what is inside a tunnel's packet of which there is none of the whole yet."""
        if self.mirror_later:
            self.mirror_received()

    def mirror_sent(self, vif: Vif, frame: bytes) -> None:
        """A copy of what leaves by a vif with the flag, without our outer headers."""
        if vif.has(VifFlag.MIRROR_TX) and not self.encapped:
            self._mirror(vif, frame)

    def _priority(self) -> int:
        """The 802.1p of its forwarding class; without one, that of the tag that was taken off."""
        return self.marks[1] if self.marks[0] else self.priority or 0

    def _mirror(self, vif: Vif, frame: bytes) -> None:
        """A copy is never copied again. No mirror of that index: INVALID_NH."""
        if self.mirrored:
            return
        found = self.state.mirrors.get(vif.mirror) if vif.mirror is not None else None
        if found is None:
            self.count_drop(Drop.INVALID_NH)
        else:
            self.deferred.append(Mirrored(self.vif, found, frame))

    def unsendable(self, vif: Vif | None, frame: bytes) -> Drop | None:
        """Why a frame cannot leave by the vif, or None. One VLAN tag is not part of the MTU."""
        if vif is None:
            return Drop.INVALID_IF
        room = ETH_LEN + TAG_LEN if is_tagged(frame) else ETH_LEN
        return Drop.TOO_BIG if len(frame) - room > vif.mtu else None

    def trap(self, reason: Trap, param: int = 0) -> Outcome:
        """Hand the frame to the agent; TRAP_NO_IF without one."""
        agent = self._agent()
        if agent is None:
            return self.drop(Drop.TRAP_NO_IF)
        frame = self._trap_frame(agent, reason, param)
        self._count_tx(agent, frame)
        return self._end(Verdict.TRAP, agent.idx, reason, frame)

    def trap_copy(self, reason: Trap) -> None:
        """Hand a copy to the agent; without one TRAP_NO_IF is counted."""
        agent = self._agent()
        if agent is None:
            self.count_drop(Drop.TRAP_NO_IF)
            return
        frame = self._trap_frame(agent, reason, 0)
        self._count_tx(agent, frame)
        self.copies.append(Copy(agent.idx, Verdict.TRAP, reason, frame))

    def xconnect(self) -> Outcome:
        """Send to the partner of the vif that the packet came by."""
        return self.send(self.vif_of(self.vif.xconnect), self.frame)

    def xconnect_copy(self) -> None:
        """Send a copy to the partner."""
        self.send_copy(self.vif_of(self.vif.xconnect), self.frame)

    def vif_of(self, idx: int | None) -> Vif | None:
        """A vif by number."""
        return self.state.vifs.get(idx) if idx is not None else None

    def _agent(self) -> Vif | None:
        if self.state.agent_silent:
            return None
        return self.vif_of(self.state.agent_vif)

    def _trap_frame(self, agent: Vif, reason: Trap, param: int) -> bytes:
        head = AGENT_HDR.pack(self.vif.idx, self.vrf, reason, param, 0, 0, 0, 0, 0)
        return ether(agent.mac, agent.mac, 0x0800) + head + self.frame

    def _count_tx(self, vif: Vif, frame: bytes) -> None:
        self.counters["tx_packets", vif.idx] += 1
        self.counters["tx_bytes", vif.idx] += len(frame)

    def _end(self, verdict: Verdict, vif: int | None, reason: int, frame: bytes) -> Outcome:
        marks = self.marks if verdict == Verdict.TX else (0, 0)
        return Outcome(verdict, vif, int(reason), frame, self.copies, self.counters, marks)
