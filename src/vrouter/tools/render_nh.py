# SPDX-License-Identifier: Apache-2.0
"""Text and JSON of `nh`, in upstream's layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.labels import (
    FAMILY_LABELS,
    HASH_FIELD_WORDS,
    NH_FLAG_WORDS,
    NH_TYPE_LABELS,
    nh_flag_words,
)
from vrouter.dpcore.names import HashField, NhFlag, NhType
from vrouter.tools.words import mac_text, set_words

if TYPE_CHECKING:
    from vrouter.dpcore.records import Member, Nexthop

INDENT = " " * 14
HASH_ALL = int(sum(HashField))
MEMBERS_WIDTH = 60  # upstream breaks a member list after so many characters


def entry_lines(nh: Nexthop, ref_count: int) -> Iterator[str]:
    """The lines of one nexthop, without the blank line that ends it."""
    yield (
        f"Id:{nh.id:<9}  Type:{NH_TYPE_LABELS[nh.type]:<13}  "
        f"Fmly:{FAMILY_LABELS[nh.family]:>8}  Rid:0  "
        f"Ref_cnt:{ref_count:<9}  Vrf:{nh.vrf}"
    )
    yield f"{INDENT}Flags:{nh_flag_words(nh.flags)}"
    for line in _details(nh):
        yield f"{INDENT}{line}"


def _details(nh: Nexthop) -> Iterator[str]:
    if nh.type == NhType.RECEIVE:
        yield f"Oif:{_oif(nh)}"
    elif nh.type == NhType.ENCAP:
        yield f"EncapFmly:{nh.encap_family:04x} Oif:{_oif(nh)} Len:{len(nh.rewrite)}"
        yield f"Encap Data: {nh.rewrite.hex(' ')}"
    elif nh.type == NhType.TUNNEL:
        yield f"Oif:{_oif(nh)} Len:{len(nh.rewrite)} Data:{nh.rewrite.hex(' ')}"
        line = f"Sip:{nh.sip} Dip:{nh.dip}"
        if nh.flags & NhFlag.TUNNEL_UDP:
            line += f" Sport:{nh.sport} Dport:{nh.dport}"
        yield line
        if nh.rw_dst_mac:
            yield f"L3_Vxlan_Mac: {mac_text(nh.rw_dst_mac)}"
    elif nh.type == NhType.VRF_TRANSLATE:
        yield f"Vrf:{nh.vrf}"
    elif nh.type == NhType.COMPOSITE:
        if nh.flags & (NhFlag.COMPOSITE_ECMP | NhFlag.COMPOSITE_LU_ECMP):
            yield f"Valid Hash Key Parameters: {','.join(hash_words(nh))}"
        yield from _member_lines(nh.members)


def hash_words(nh: Nexthop) -> list[str]:
    """What an ECMP composite hashes of a packet."""
    return set_words(nh.hash_fields or HASH_ALL, HASH_FIELD_WORDS)


def _member_lines(members: tuple[Member, ...]) -> Iterator[str]:
    line = "Sub NH(label):"
    printed = 0
    for member in members:
        if printed > MEMBERS_WIDTH:
            yield line
            line, printed = INDENT, 0
        word = f" {member.nh}" if member.label is None else f" {member.nh}({member.label})"
        line += word
        printed += len(word)
    yield line


def _oif(nh: Nexthop) -> int:
    return -1 if nh.oif is None else nh.oif


def entry_json(nh: Nexthop, ref_count: int) -> dict[str, Any]:
    """One nexthop as JSON; documented in nh(1)."""
    return {
        "id": nh.id,
        "type": NH_TYPE_LABELS[nh.type],
        "family": FAMILY_LABELS[nh.family],
        "vrf": nh.vrf,
        "ref_count": ref_count,
        "flags": set_words(nh.flags, NH_FLAG_WORDS),
        "oif": nh.oif,
        "encap_family": nh.encap_family,
        "encap": nh.rewrite.hex(),
        "sip": str(nh.sip) if nh.sip is not None else None,
        "dip": str(nh.dip) if nh.dip is not None else None,
        "sport": nh.sport,
        "dport": nh.dport,
        "l3_vxlan_mac": mac_text(nh.rw_dst_mac) if nh.rw_dst_mac else None,
        "hash_fields": hash_words(nh) if nh.flags & NhFlag.COMPOSITE_ECMP else None,
        "members": [{"nh": member.nh, "label": member.label} for member in nh.members],
    }
