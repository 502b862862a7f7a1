# SPDX-License-Identifier: Apache-2.0
"""Types of command line values; each raises argparse.ArgumentTypeError with the right form."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING

from vrouter.dpcore.errors import Refused

if TYPE_CHECKING:
    from vrouter.dpcore.names import VifFeature, VifFlag
    from vrouter.dpcore.records import Source

MAX_VRF = 65535
MAX_U16 = 65535
MAX_LABEL = (1 << 20) - 1
MAX_VNI = (1 << 24) - 1
MAX_NEXTHOP = (1 << 24) - 1
MAX_VIF = 65534
MAX_RATE = 1_000_000_000  # one a nanosecond
ALLOW_ANY, ALLOW_NONE = "any", "none"


def number(low: int, high: int, what: str) -> Callable[[str], int]:
    """A parser of integers from `low` to `high`: decimal, or hexadecimal with 0x."""

    def parse(text: str) -> int:
        try:
            value = int(text, 16 if text.lower().startswith("0x") else 10)
        except ValueError:
            raise ArgumentTypeError(
                f"'{text}' is not a number; {what} is {low} to {high}"
            ) from None
        if not low <= value <= high:
            raise ArgumentTypeError(f"{value} is out of range; {what} is {low} to {high}")
        return value

    return parse


vrf = number(0, MAX_VRF, "a VRF")
nexthop = number(0, MAX_NEXTHOP, "a nexthop id")
label = number(0, MAX_LABEL, "an MPLS label")
vni = number(0, MAX_VNI, "a VNID")
label_or_vni = number(0, MAX_VNI, "a label or VNID")
vif_id = number(0, MAX_VIF, "a vif number")
port = number(0, MAX_U16, "a UDP port")
plen = number(0, 128, "the length of a prefix")
cpu = number(0, 65535, "a CPU number")
mirror = number(0, 254, "a mirror")
forwarding_class = number(0, 255, "a forwarding class")
qos_map = number(0, 32767, "a QoS map")


def qos_map_or_none(text: str) -> int:
    """A QoS map, or -1 for `none`."""
    return -1 if text == "none" else qos_map(text)


def hex_flags(text: str) -> int:
    """Flags in hexadecimal, with or without 0x."""
    try:
        return int(text, 16)
    except ValueError:
        raise ArgumentTypeError(f"'{text}' is not hexadecimal; write flags as 0x3") from None


def mac(text: str) -> bytes:
    """Six bytes of a MAC address; one or two hex digits each, as the tools print them."""
    parts = text.split(":")
    try:
        if len(parts) != 6 or not all(1 <= len(part) <= 2 for part in parts):
            raise ValueError
        return bytes(int(part, 16) for part in parts)
    except ValueError:
        raise ArgumentTypeError(
            f"'{text}' is not a MAC address; write it as 02:00:00:00:00:01"
        ) from None


def unicast_mac(text: str) -> bytes:
    """A MAC address of one device: no group address, not all zeros."""
    value = mac(text)
    if value[0] & 1:
        raise ArgumentTypeError(
            f"{text} is a group address, not that of a device; write it as 02:00:00:00:00:01"
        )
    if not any(value):
        raise ArgumentTypeError(f"{text} is no device's MAC; write it as 02:00:00:00:00:01")
    return value


vlan = number(0, 4094, "a VLAN")

# What a person may set of the flags; the others follow from what else is asked for.
FLAG_WORDS = "P D Ig L Ml Uuf Mnp Proxy Vnt Pr"


def vif_flags(text: str) -> tuple[VifFlag, VifFlag]:
    """Letters of flags: those to set, those to clear."""
    from vrouter.dpcore.labels import VIF_FLAG_LETTERS  # noqa: PLC0415 - keeps --help fast
    from vrouter.dpcore.names import VifFlag  # noqa: PLC0415

    known = {letters: bit for bit, letters, _ in VIF_FLAG_LETTERS if letters in FLAG_WORDS.split()}
    found = [VifFlag(0), VifFlag(0)]
    for word in text.split(","):
        letters = word.lstrip("+-")
        if letters == "S":
            raise Refused("service chains (flag S) come with a later release; leave it out")
        if letters not in known:
            raise ArgumentTypeError(f"'{word}' is no flag to set; write any of {FLAG_WORDS}")
        found[word.startswith("-")] |= known[letters]
    return found[0], found[1]


def source(text: str) -> Source | str:
    """A pair of `--allow`: MAC, or MAC,PREFIX; or one of its two words."""
    from vrouter.dpcore.records import Source  # noqa: PLC0415 - keeps --help fast

    if text in (ALLOW_ANY, ALLOW_NONE):
        return text
    first, comma, rest = text.partition(",")
    address = unicast_mac(first)
    if not comma:
        return Source(mac=address)
    try:
        return Source(mac=address, prefix=ip_network(rest))
    except ValueError:
        raise ArgumentTypeError(
            f"'{rest}' is not a prefix; write {first},192.0.2.1 or {first},2001:db8::/64"
        ) from None


def roles(text: str) -> VifFeature:
    """Words of `--trust`."""
    from vrouter.dpcore.names import VifFeature  # noqa: PLC0415 - keeps --help fast

    words = {
        "dhcp": VifFeature.DHCP_SERVER,
        "router": VifFeature.ROUTER,
        "bridge": VifFeature.BRIDGE,
        ALLOW_NONE: VifFeature(0),
    }
    found = VifFeature(0)
    for word in text.split(","):
        if word not in words:
            raise ArgumentTypeError(f"'{word}' is no role; write dhcp, router, bridge or none")
        found |= words[word]
    return found


def vif(text: str) -> str:
    """A vif as a person names it: its number, vif0/NUMBER or its device's name."""
    bare = text.removeprefix("vif0/")
    if text == bare and text.isdecimal() and int(text) < 1 << 31:
        return text  # which may be an ifindex, beyond any vif
    if bare.removeprefix("-").isdecimal():
        return str(vif_id(bare))
    return device_name(text)


def ip(text: str) -> IPv4Address | IPv6Address:
    """An IPv4 address in dotted form, or an IPv6 address (without a zone)."""
    try:
        found = ip_address(text)
    except ValueError:
        found = None
    if found is None or "%" in text:
        raise ArgumentTypeError(
            f"'{text}' is not an IP address; write it as 192.0.2.1 or 2001:db8::1"
        ) from None
    return found


def host_ip(text: str) -> IPv4Address | IPv6Address:
    """An IP address that a host can have."""
    value = ip(text)
    if value.is_unspecified or value.is_multicast or value == IPv4Address("255.255.255.255"):
        raise ArgumentTypeError(
            f"{text} is not the address of a host; write it as 192.0.2.1 or 2001:db8::1"
        )
    return value


def route_address(text: str) -> IPv4Address | IPv6Address:
    """The address of a route's prefix, whose length is an option of its own."""
    address, slash, length = text.partition("/")
    found = ip(address)
    if slash:
        raise ArgumentTypeError(
            f"'{text}' is an address with a length; write -p {address} "
            f"-l {length or found.max_prefixlen}"
        )
    return found


def ip_prefix(text: str) -> IPv4Network | IPv6Network:
    """An IPv4 or IPv6 prefix; without a length it is a single address. Host bits are an error."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        right = ip_network(text, strict=False)
    except ValueError:
        raise ArgumentTypeError(
            f"'{text}' is not an IP prefix; write it as 192.0.2.0/24 or 2001:db8::/64"
        ) from None
    raise ArgumentTypeError(f"{text} has bits beyond its length; write it as {right}")


def device_name(text: str) -> str:
    """The name of a netdevice: 1 to 15 characters, no slash, no blank (Linux's rule)."""
    bad = not 1 <= len(text.encode()) <= 15 or "/" in text or any(c.isspace() for c in text)
    if bad or text in {".", ".."}:
        raise ArgumentTypeError(
            f"'{text}' is not a device name; it has 1 to 15 characters, no slash, no blank"
        )
    return text


def seconds(text: str) -> float:
    """A time span above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ArgumentTypeError(f"'{text}' is not a time; write seconds as 10 or 0.5")
    return value


PROTOCOLS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "icmpv6": 58, "sctp": 132}


def protocol(text: str) -> int:
    """An IP protocol by name or number."""
    if text in PROTOCOLS:
        return PROTOCOLS[text]
    try:
        return number(0, 255, "a protocol number")(text)
    except ArgumentTypeError:
        words = ", ".join(PROTOCOLS)
        raise ArgumentTypeError(
            f"'{text}' is not a protocol; write {words} or a number to 255"
        ) from None
