# SPDX-License-Identifier: Apache-2.0
"""Types of command line values; each raises argparse.ArgumentTypeError with the right form."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from vrouter.dpcore.errors import Refused

MAX_VRF = 65535
MAX_U16 = 65535
MAX_LABEL = (1 << 20) - 1
MAX_VNI = (1 << 24) - 1
MAX_NEXTHOP = (1 << 24) - 1
MAX_VIF = 65534


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
plen = number(0, 32, "the length of an IPv4 prefix")
cpu = number(0, 65535, "a CPU number")
mirror = number(0, 254, "a mirror")
forwarding_class = number(0, 255, "a forwarding class")
qos_map = number(0, 32767, "a QoS map")


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


def vif(text: str) -> str:
    """A vif as a person names it: its number, vif0/NUMBER or its device's name."""
    bare = text.removeprefix("vif0/")
    if text == bare and text.isdecimal() and int(text) < 1 << 31:
        return text  # which may be an ifindex, beyond any vif
    if bare.removeprefix("-").isdecimal():
        return str(vif_id(bare))
    return device_name(text)


def ipv4(text: str) -> IPv4Address:
    """An IPv4 address in dotted form."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise ArgumentTypeError(f"'{text}' is not an IPv4 address; write it as 192.0.2.1") from None


def host_ipv4(text: str) -> IPv4Address:
    """An IPv4 address that a host can have."""
    value = ipv4(text)
    if value.is_unspecified or value.is_multicast or value == IPv4Address("255.255.255.255"):
        raise ArgumentTypeError(f"{text} is not the address of a host; write it as 192.0.2.1")
    return value


def route_address(text: str) -> IPv4Address:
    """The address of a route's prefix, whose length is an option of its own."""
    if ":" in text:
        raise Refused("IPv6 routes come with a later release; families are inet and bridge")
    address, slash, length = text.partition("/")
    if slash:
        raise ArgumentTypeError(
            f"'{text}' is an address with a length; write -p {address} -l {length or 32}"
        )
    return ipv4(text)


def ipv4_prefix(text: str) -> IPv4Network:
    """An IPv4 prefix; without a length it is a /32. Host bits are an error."""
    try:
        return IPv4Network(text)
    except ValueError:
        pass
    try:
        right = IPv4Network(text, strict=False)
    except ValueError:
        raise ArgumentTypeError(
            f"'{text}' is not an IPv4 prefix; write it as 192.0.2.0/24"
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
