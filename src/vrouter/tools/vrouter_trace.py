# SPDX-License-Identifier: Apache-2.0
"""`vrouter trace`: packets as dp-core handles them, from its own events.

Events of one pass of a packet through dp-core carry the same id. They are printed as they come,
a blank line between packets; a filter decides by the whole pass, so a packet is held back until
its pass has ended (TX, drop, ...) or another one begins on the same CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.labels import drop_label
from vrouter.dpcore.names import EventKind, EventMask, TrapReason
from vrouter.tools.common import open_core

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.ringbuf import Address, Event

PROTOCOLS = {0: "hop-by-hop", 1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmpv6"}
ENDS = (EventKind.TX, EventKind.DROP, EventKind.TRAP)
ARP, IPV6 = 0x0806, 0x86DD
ICMP, ICMPV6 = 1, 58
HELD = 4096  # packets held back at most; the oldest is let go


class Packets:
    """Groups events by packet: feed() returns the packets that are complete."""

    def __init__(self) -> None:
        self._open: dict[int, list[Event]] = {}

    def feed(self, event: Event) -> Iterator[list[Event]]:
        """Take one event; give what has ended by it."""
        others = [key for key, events in self._open.items() if events[0].cpu == event.cpu]
        for key in others:
            if key != event.id:
                yield self._open.pop(key)
        self._open.setdefault(event.id, []).append(event)
        while len(self._open) > HELD:
            yield self._open.pop(next(iter(self._open)))

    def rest(self) -> Iterator[list[Event]]:
        """What is still open when the trace ends or nothing comes any more."""
        held, self._open = self._open, {}
        yield from held.values()


def wanted(events: Iterable[Event], args: argparse.Namespace) -> bool:
    """Whether a packet passes --host, --proto and --drops."""
    found = list(events)
    if args.drops and not any(event.kind == EventKind.DROP for event in found):
        return False
    if args.host is not None and not any(args.host in (one.sip, one.dip) for one in found):
        return False
    return args.proto is None or any(event.proto == args.proto for event in found)


def event_line(event: Event, name_of: Callable[[int], str], start_ns: int) -> str:
    """One event: time since the packet came in, what happened, and to which packet."""
    since = (event.ns - start_ns) / 1000
    kind = EventKind(event.kind)
    word = kind.name.lower().replace("_", "-")
    return (
        f"{since:9.1f}us  {word:<10}{_detail(event, kind, name_of):<36}{flow_text(event)}".rstrip()
    )


def _detail(event: Event, kind: EventKind, name_of: Callable[[int], str]) -> str:
    label = "" if event.label is None else f" label {event.label}"
    if kind in (EventKind.RX, EventKind.TX, EventKind.COPY, EventKind.ARP_REPLY):
        return f"{name_of(event.vif)} {event.len} bytes"
    if kind == EventKind.DROP:
        return f"{drop_label(event.reason)} at {name_of(event.vif)}"
    if kind == EventKind.TRAP:
        return f"to the agent: {trap_name(event.reason)}"
    if kind == EventKind.NEXTHOP:
        return f"nh {event.nh} vrf {event.vrf}"
    return f"vrf {event.vrf} nh {event.nh}{label}"


def trap_name(reason: int) -> str:
    """The name of a trap reason."""
    try:
        return TrapReason(reason).name
    except ValueError:
        return f"reason {reason}"


def flow_text(event: Event) -> str:
    """Addresses and protocol of the packet, as far as it has them."""
    if event.eth_type == ARP:
        return f"arp {_address(event.sip)} > {_address(event.dip)}"
    if not event.proto and event.sip is None:
        return f"type {event.eth_type:#06x}" if event.eth_type else ""
    proto = PROTOCOLS.get(event.proto, f"proto {event.proto}")
    source, target = _address(event.sip), _address(event.dip)
    if event.proto == ICMP or (event.proto == ICMPV6 and (event.sport or event.dport)):
        return f"{proto} {source} > {target} id {event.sport} seq {event.dport}"
    if event.sport or event.dport:
        if event.eth_type == IPV6:
            source, target = f"[{source}]", f"[{target}]"
        return f"{proto} {source}:{event.sport} > {target}:{event.dport}"
    return f"{proto} {source} > {target}"


def _address(value: Address | None) -> str:
    return "-" if value is None else str(value)


def event_json(event: Event, name_of: Callable[[int], str]) -> dict[str, Any]:
    """One event as JSON; documented in vrouter(1)."""
    kind = EventKind(event.kind)
    reason = None
    if kind == EventKind.DROP:
        reason = drop_label(event.reason)
    elif kind == EventKind.TRAP:
        reason = trap_name(event.reason)
    return {
        "id": event.id,
        "ns": event.ns,
        "cpu": event.cpu,
        "event": kind.name.lower(),
        "vif": event.vif,
        "device": name_of(event.vif),
        "vrf": event.vrf,
        "nh": event.nh,
        "label": event.label,
        "reason": reason,
        "length": event.len,
        "eth_type": event.eth_type,
        "proto": event.proto,
        "sip": _address(event.sip),
        "dip": _address(event.dip),
        "sport": event.sport,
        "dport": event.dport,
    }


def run(args: argparse.Namespace) -> None:
    """Print packets until --count, --seconds or an interrupt."""
    from vrouter.dpcore.ringbuf import EventReader  # noqa: PLC0415 - only trace needs it

    mask = EventMask.DROPS | EventMask.PATH
    end = None if args.seconds is None else time.monotonic() + args.seconds
    shown = 0
    with open_core(args) as core, EventReader(core, mask) as reader:
        printer = Printer(core, args)
        for packet in _packets(reader, end):
            if not wanted(packet, args):
                continue
            printer.show(packet)
            shown += 1
            if args.count is not None and shown >= args.count:
                return


def _packets(reader: Any, end: float | None) -> Iterator[list[Event]]:
    """Complete packets until `end` (monotonic seconds); None: for ever."""
    packets = Packets()
    while end is None or time.monotonic() < end:
        events = reader.read(timeout=0.2)
        if not events:
            yield from packets.rest()
        for event in events:
            yield from packets.feed(event)
    yield from packets.rest()


class Printer:
    """Writes packets as text or as one JSON object a line."""

    def __init__(self, core: DpCore, args: argparse.Namespace) -> None:
        self._core = core
        self._json = args.json
        self._names: dict[int, str] = {}

    def show(self, packet: list[Event]) -> None:
        """One packet, all its events."""
        if self._json:
            import json  # noqa: PLC0415

            for event in packet:
                print(json.dumps(event_json(event, self._name)), flush=True)
            return
        lines = [event_line(event, self._name, packet[0].ns) for event in packet]
        print(
            "\n".join([f"packet {packet[0].id:x} on CPU {packet[0].cpu}", *lines, ""]), flush=True
        )

    def _name(self, idx: int) -> str:
        if idx not in self._names:
            vif = self._core.vifs.get(idx) if idx < self._core.vifs.size else None
            self._names[idx] = f"vif0/{idx}" if vif is None else f"vif0/{idx}({vif.name})"
        return self._names[idx]
