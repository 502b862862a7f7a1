# SPDX-License-Identifier: Apache-2.0
"""Words of the tools that `vrouter.dpcore.labels` does not have: it holds the rest."""

from __future__ import annotations

from collections.abc import Iterable

from vrouter.dpcore.names import DropReason, NhType

# What `nh --create --type` takes besides the numbers 1 to 8.
NH_TYPE_WORDS = {
    "receive": NhType.RECEIVE,
    "encap": NhType.ENCAP,
    "tunnel": NhType.TUNNEL,
    "resolve": NhType.RESOLVE,
    "discard": NhType.DISCARD,
    "composite": NhType.COMPOSITE,
    "vrf-translate": NhType.VRF_TRANSLATE,
    "l2-receive": NhType.L2_RECEIVE,
}

# Reasons that are no loss: the copies of such a packet went on their way.
NOT_LOST = frozenset({DropReason.CLONED_ORIGINAL, DropReason.TRAP_ORIGINAL})

# Lines of `vrfstats`: (field of VrfStats, upstream's name).
VRF_STATS_LINES: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("discards", "Discards"),
        ("resolves", "Resolves"),
        ("receives", "Receives"),
        ("l2_receives", "L2 Receives"),
        ("vrf_translates", "Vrf Translates"),
        ("uuc_floods", "Unknown Unicast Floods"),
    ),
    (
        ("ecmp_composites", "Ecmp Composites"),
        ("l2_mcast_composites", "L2 Mcast Composites"),
        ("fabric_composites", "Fabric Composites"),
        ("encap_composites", "Encap Composites"),
        ("evpn_composites", "Evpn Composites"),
    ),
    (
        ("udp_tunnels", "Udp Tunnels"),
        ("udp_mpls_tunnels", "Udp Mpls Tunnels"),
        ("gre_mpls_tunnels", "Gre Mpls Tunnels"),
        ("vxlan_tunnels", "Vxlan Tunnels"),
        ("pbb_tunnels", "Pbb Tunnels"),
        ("udp_mpls_over_mpls_tunnels", "Udp Mpls over Mpls Tunnels"),
    ),
    (("l2_encaps", "L2 Encaps"), ("encaps", "Encaps")),
    (("gros", "GROs"), ("diags", "Diags")),
    (
        ("arp_virtual_proxy", "Arp Virtual Proxys"),
        ("arp_virtual_stitch", "Arp Virtual Stitchs"),
        ("arp_virtual_flood", "Arp Virtual Floods"),
        ("arp_physical_stitch", "Arp Physical Stitchs"),
        ("arp_tor_proxy", "Arp Tor Proxys"),
        ("arp_physical_flood", "Arp Physical Floods"),
    ),
)


def set_words(flags: int, table: Iterable[tuple[int, str] | tuple[int, str, str]]) -> list[str]:
    """The words of the bits that are set in `flags`, in the order of `table` (for JSON)."""
    return [row[1] for row in table if flags & row[0]]


def mac_text(mac: bytes) -> str:
    """A MAC address with two digits a byte: 00:00:5e:00:01:00."""
    return ":".join(f"{byte:02x}" for byte in mac)


def short_mac_text(mac: bytes) -> str:
    """A MAC address as `rt` prints it, without leading zeros: 0:0:5e:0:1:0."""
    return ":".join(f"{byte:x}" for byte in mac)
