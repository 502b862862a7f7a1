# SPDX-License-Identifier: Apache-2.0
"""Text and JSON of `vif`: upstream's layout byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.labels import VIF_FLAG_LETTERS, VIF_TYPE_LABELS, vif_flag_letters
from vrouter.dpcore.names import VifFeature, VifFlag
from vrouter.tools.words import NOT_LOST, mac_text, set_words

if TYPE_CHECKING:
    from vrouter.dpcore.records import Source, Vif, VifStats

HEADING = """\
Vrouter Interface Table

Flags: P=Policy, X=Cross Connect, S=Service Chain, Mr=Receive Mirror
       Mt=Transmit Mirror, Tc=Transmit Checksum Offload, L3=Layer 3, L2=Layer 2
       D=DHCP, Vp=Vhost Physical, Pr=Promiscuous, Vnt=Native Vlan Tagged
       Mnp=No MAC Proxy, Dpdk=DPDK PMD Interface, Rfl=Receive Filtering Offload, \
Mon=Interface is Monitored
       Uuf=Unknown Unicast Flood, Vof=VLAN insert/strip offload, Df=Drop New Flows, \
L=MAC Learning Enabled
       Proxy=MAC Requests Proxied Always, Er=Etree Root, Mn=Mirror without Vlan Tag, \
HbsL=HBS Left Intf
       HbsR=HBS Right Intf, Ig=Igmp Trap Enabled
"""

INDENT = " " * 12

# What a VM may be besides, in the words of `--trust`.
ROLES = (
    (VifFeature.DHCP_SERVER, "dhcp"),
    (VifFeature.ROUTER, "router"),
    (VifFeature.BRIDGE, "bridge"),
)


@dataclass(frozen=True, kw_only=True)
class VifView:
    """All that one entry of the list shows."""

    vif: Vif
    stats: VifStats
    drops: Mapping[int, int] = field(default_factory=dict)  # reason -> packets
    link: tuple[int, int] | None = None  # speed in Mbit/s and duplex
    ref: int = 1
    refused: int = 0  # packets that the netdevice itself dropped instead of sending
    sources: tuple[Source, ...] | None = None  # who may speak; None: not checked


def lost(drops: Mapping[int, int]) -> int:
    """Packets lost: the sum over all reasons but those under which copies went on."""
    return sum(count for reason, count in drops.items() if reason not in NOT_LOST)


def entry_lines(view: VifView) -> Iterator[str]:
    """The lines of one vif, without the blank line that ends it."""
    vif, stats = view.vif, view.stats
    first = f"{f'vif0/{vif.idx}':<12}OS: {vif.name}"
    if view.link is not None:
        first += f" (Speed {view.link[0]}, Duplex {view.link[1]})"
    if vif.vlan is not None:
        senders = "(,S)" if vif.src_macs else ""
        first += f" Vlan(o/i){senders}: {vif.ovlan}/{vif.vlan}"
    if vif.parent is not None:
        first += f" Parent:vif0/{vif.parent}"
    if vif.nh_id:
        first += f" NH: {vif.nh_id}"
    yield first
    yield (
        f"{INDENT}Type:{VIF_TYPE_LABELS[vif.type]} HWaddr:{mac_text(vif.mac)} "
        f"IPaddr:{vif.ip or '0.0.0.0'}"
    )
    if vif.ip6:
        yield f"{INDENT}IP6addr:{vif.ip6}"
    yield (
        f"{INDENT}Vrf:{vif.vrf} Mcast Vrf:{vif.mcast_vrf} Flags:{vif_flag_letters(vif.flags)} "
        f"QOS:{vif.qos} Ref:{view.ref}{_mirror_text(vif)}"
    )
    yield (
        f"{INDENT}RX packets:{stats.rx_packets}  bytes:{stats.rx_bytes} errors:{stats.rx_errors}"
    )
    yield (
        f"{INDENT}TX packets:{stats.tx_packets}  bytes:{stats.tx_bytes} errors:{stats.tx_errors}"
    )
    yield f"{INDENT}Drops:{lost(view.drops)}"
    if view.sources is not None:
        yield from _source_lines(view.sources, vif.features)


def role_words(features: VifFeature) -> list[str]:
    """The words of the roles among `features`."""
    return set_words(features, ROLES)


def _source_lines(sources: tuple[Source, ...], features: VifFeature) -> Iterator[str]:
    """A line for each MAC that may speak; ours, upstream has nothing like it."""
    prefixes: dict[bytes, list[str]] = {}
    for one in sources:
        of_mac = prefixes.setdefault(one.mac, [])
        if one.prefix is not None:
            of_mac.append(str(one.prefix))
    for mac, texts in prefixes.items():
        yield f"{INDENT}Allowed:{mac_text(mac)} {' '.join(texts) or 'no prefix'}"
    if not sources:
        yield f"{INDENT}Allowed:none"
    if role_words(features):
        yield f"{INDENT}Trusted:{' '.join(role_words(features))}"


def _mirror_text(vif: Vif) -> str:
    mirrored = vif.flags & (VifFlag.MIRROR_RX | VifFlag.MIRROR_TX)
    return f" Mirror index {vif.mirror}" if mirrored else ""


def entry_json(view: VifView) -> dict[str, Any]:
    """One vif as JSON; documented in vif(1)."""
    vif, stats = view.vif, view.stats
    return {
        "vif": f"vif0/{vif.idx}",
        "id": vif.idx,
        "name": vif.name,
        "type": VIF_TYPE_LABELS[vif.type],
        "transport": vif.transport.name.lower(),
        "mac": mac_text(vif.mac),
        "ip": str(vif.ip or "0.0.0.0"),
        "ip6": str(vif.ip6) if vif.ip6 else None,
        "vrf": vif.vrf,
        "mcast_vrf": vif.mcast_vrf,
        "flags": set_words(vif.flags, VIF_FLAG_LETTERS),
        "nh": vif.nh_id or None,
        "qos": vif.qos,
        "mirror": vif.mirror,
        "ref": view.ref,
        "mtu": vif.mtu,
        "os_ifindex": vif.os_ifindex,
        "ifindex": vif.ifindex,
        "xconnect": vif.xconnect,
        "parent": vif.parent,
        "vlan": vif.vlan,
        "ovlan": vif.ovlan,
        "src_macs": [mac_text(mac) for mac in vif.src_macs],
        "speed": view.link[0] if view.link else None,
        "duplex": view.link[1] if view.link else None,
        "rx": {
            "packets": stats.rx_packets,
            "bytes": stats.rx_bytes,
            "errors": stats.rx_errors,
        },
        "tx": {
            "packets": stats.tx_packets,
            "bytes": stats.tx_bytes,
            "errors": stats.tx_errors,
        },
        "drops": lost(view.drops),
        "sources": None if view.sources is None else [_source_json(one) for one in view.sources],
        "trusted": role_words(vif.features),
    }


def _source_json(source: Source) -> dict[str, str | None]:
    prefix = None if source.prefix is None else str(source.prefix)
    return {"mac": mac_text(source.mac), "prefix": prefix}


Counted = tuple["VifStats", int]
"""Counters of a vif, and its drops."""


def rates_of(before: Counted, after: Counted, seconds: float) -> dict[str, float]:
    """Packets and bits a second between two readings; a vif that was cleared counts as 0."""

    def rate(old: int, new: int, times: int = 1) -> float:
        return round(max(0, new - old) * times / seconds, 1)

    old, new = before[0], after[0]
    return {
        "rx_packets": rate(old.rx_packets, new.rx_packets),
        "rx_bits": rate(old.rx_bytes, new.rx_bytes, 8),
        "tx_packets": rate(old.tx_packets, new.tx_packets),
        "tx_bits": rate(old.tx_bytes, new.tx_bytes, 8),
        "drops": rate(before[1], after[1]),
    }


def rate_lines(rates: Mapping[str, tuple[str, Mapping[str, float]]]) -> Iterator[str]:
    """A line for each vif: packets and bits a second, in and out, and drops."""
    heads = ("RX pkts/s", "RX bits/s", "TX pkts/s", "TX bits/s", "Drops/s")
    yield f"{'Vif':<12}{'OS':<16}" + "".join(f"{head:>16}" for head in heads)
    for vif, (name, rate) in rates.items():
        yield f"{vif:<12}{name:<16}" + "".join(f"{value:>16.0f}" for value in rate.values())
