# SPDX-License-Identifier: Apache-2.0
"""Netdevices of the calling thread's network namespace: the one door to pyroute2.

Errors are DeviceError, one line that names the device and the kernel's reason.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from types import TracebackType
from typing import Any

from pyroute2 import IPRoute, NetlinkError  # type: ignore[import-untyped]

from vrouter.dpcore.errors import DeviceError
from vrouter.dpcore.records import IPNetwork

IFF_UP = 1
IFF_PROMISC = 0x100
IFF_ALLMULTI = 0x200
ARPHRD_ETHER = 1
_ADDR_GEN_MODE_NONE = 1
_READY_SECONDS = 1.0
_MAIN, _SCOPE_LINK = 254, 253
_LIMITS = ("txqlen", "group", "gso_max_size", "gso_max_segs", "gro_max_size")


@dataclass(frozen=True)
class Link:
    """A netdevice as the kernel shows it; `mac` in wire order."""

    ifindex: int
    name: str
    mac: bytes
    mtu: int
    flags: int
    kind: str
    hardware: int
    peer: int
    peer_elsewhere: bool
    qdisc: str
    master: int = 0
    xdp: tuple[int, ...] = ()
    alias: str = ""

    @property
    def allmulti(self) -> bool:
        """Whether somebody asked it to take every multicast frame."""
        return bool(self.flags & IFF_ALLMULTI)

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)


def mac_text(mac: bytes) -> str:
    """02:00:... of six bytes."""
    return mac.hex(":")


@contextlib.contextmanager
def _explain(what: str) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        raise DeviceError(f"{what}: {error.args[1] if len(error.args) > 1 else error}") from error


class Netlink:
    """One netlink socket in the namespace in which it is opened; a context manager."""

    def __init__(self) -> None:
        self._socket: Any = IPRoute()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def get(self, name: str) -> Link | None:
        """The device of that name, or None."""
        try:
            messages = self._socket.link("get", ifname=name)
        except NetlinkError:
            return None
        return _link(messages[0]) if messages else None

    def need(self, name: str) -> Link:
        """The device of that name; DeviceError with the names that exist if there is none."""
        link = self.get(name)
        if link is None:
            there = ", ".join(one.name for one in self.links())
            raise DeviceError(f"no netdevice {name} in this network namespace; there are: {there}")
        return link

    def links(self) -> list[Link]:
        """All devices, by ifindex."""
        found = [_link(message) for message in self._socket.get_links()]
        return sorted(found, key=lambda link: link.ifindex)

    def add_veth(
        self,
        name: str,
        peer: str,
        *,
        mac: bytes | None = None,
        peer_mac: bytes | None = None,
        mtu: int = 1500,
        peer_netns: str | None = None,
    ) -> Link:
        """Make a veth pair; the far end in namespace file `peer_netns` if given. Both down."""
        ends: list[dict[str, Any]] = [{"ifname": name, "mtu": mtu}, {"ifname": peer, "mtu": mtu}]
        for end, address in zip(ends, (mac, peer_mac), strict=True):
            if address is not None:
                end["address"] = mac_text(address)
        with contextlib.ExitStack() as stack:
            if peer_netns is not None:
                handle = stack.enter_context(open(peer_netns, "rb"))
                ends[1]["net_ns_fd"] = handle.fileno()
            with _explain(f"cannot make veth pair {name}/{peer}"):
                self._socket.link("add", kind="veth", peer=ends[1], **ends[0])
        return self.need(name)

    def set(self, link: Link, **values: Any) -> None:
        """Change `state` ("up"/"down"), `mtu`, `ifname`, `txqlen`, `address` of a device."""
        with _explain(f"cannot set {values} on {link.name}"):
            self._socket.link("set", index=link.ifindex, **values)

    def limits(self, link: Link) -> dict[str, int]:
        """Queue length, group, and how large a packet the device takes (GSO) and merges (GRO)."""
        (message,) = self._socket.get_links(link.ifindex)
        found = {name: message.get_attr(f"IFLA_{name.upper()}") for name in _LIMITS}
        return {name: int(value) for name, value in found.items() if value is not None}

    def set_limits(self, link: Link, limits: Mapping[str, int]) -> None:
        """Make a device's limits those that `limits` gave for another one."""
        now = self.limits(link)
        wanted = {name: value for name, value in limits.items() if now.get(name) != value}
        if wanted:
            self.set(link, **wanted)

    def set_allmulti(self, link: Link, *, on: bool) -> None:
        """Let the device take every multicast frame, or only those of groups joined on it."""
        self.set(link, flags=IFF_ALLMULTI if on else 0, change=IFF_ALLMULTI)

    def up(self, name: str) -> None:
        """Set a device up."""
        self.set(self.need(name), state="up")

    def wait_ready(self, name: str) -> None:
        """Wait until a device that was set up really sends; DeviceError after a second.

        A veth gets its carrier when the other end comes up, and until the kernel's link watcher
        has noticed, its queue is "noop", which drops everything.
        """
        end = time.monotonic() + _READY_SECONDS
        while self.need(name).qdisc == "noop":
            if time.monotonic() > end:
                raise DeviceError(f"netdevice {name} is up but does not get ready to send")
            time.sleep(0.001)

    def no_link_local(self, link: Link) -> None:
        """Let the kernel make no IPv6 link-local address on the device (addrgenmode none)."""
        mode = {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE]]}
        with _explain(f"cannot set addrgenmode of {link.name}"):
            self._socket.link(
                "set", index=link.ifindex, IFLA_AF_SPEC={"attrs": [["AF_INET6", mode]]}
            )

    def delete(self, name: str) -> bool:
        """Delete a device; False if there is none of that name."""
        link = self.get(name)
        if link is None:
            return False
        with _explain(f"cannot delete netdevice {name}"):
            try:
                self._socket.link("del", index=link.ifindex)
            except NetlinkError as error:
                if error.code != errno.ENODEV:  # it went with its peer's namespace meanwhile
                    raise
                return False
        return True

    def add_address(self, name: str, address: str, prefix: int) -> None:
        """Give a device an address."""
        with _explain(f"cannot add {address}/{prefix} to {name}"):
            self._socket.addr(
                "add", index=self.need(name).ifindex, address=address, prefixlen=prefix
            )

    def add_default_route(self, gateway: str) -> None:
        """Add a default route, of the gateway's IP version, to the main table."""
        with _explain(f"cannot add a default route by {gateway}"):
            family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
            self._socket.route("add", dst="default", gateway=gateway, family=family)

    def add_gateway(self, name: str, gateway: str, mac: bytes) -> None:
        """Add a default route by a gateway that is on the device's link, whatever its address,
        and has that MAC for good."""
        with _explain(f"cannot add a default route by {gateway} on {name}"):
            index = self.need(name).ifindex
            family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
            self._socket.neigh(
                "add",
                family=family,
                ifindex=index,
                dst=gateway,
                lladdr=mac_text(mac),
                state="permanent",
            )
            self._socket.route(
                "add", dst="default", gateway=gateway, family=family, oif=index, flags=["onlink"]
            )

    def set_neighbour(self, name: str, address: str, mac: bytes) -> None:
        """Let the device have that neighbour for good."""
        with _explain(f"cannot add neighbour {address} to {name}"):
            self._socket.neigh(
                "replace",
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                ifindex=self.need(name).ifindex,
                dst=address,
                lladdr=mac_text(mac),
                state="permanent",
            )

    def addresses(self, name: str) -> list[tuple[str, int]]:
        """The addresses of a device, each with the length of its prefix."""
        found = self._socket.get_addr(index=self.need(name).ifindex)
        return [
            (one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS"), one["prefixlen"])
            for one in found
        ]

    def delete_address(self, name: str, address: str, prefix: int) -> None:
        """Take an address from a device."""
        with _explain(f"cannot take {address}/{prefix} from {name}"):
            self._socket.addr(
                "del", index=self.need(name).ifindex, address=address, prefixlen=prefix
            )

    def routes_by(self, link: Link, protocol: int) -> frozenset[IPNetwork]:
        """The prefixes that routes of that protocol lead to by the device, in the main table."""
        found: list[IPNetwork] = []
        for family, zero in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            for one in self._socket.get_routes(family=family, table=_MAIN, oif=link.ifindex):
                if one["proto"] == protocol and one.get_attr("RTA_OIF") == link.ifindex:
                    prefix = f"{one.get_attr('RTA_DST') or zero}/{one['dst_len']}"
                    found.append(ip_network(prefix))
        return frozenset(found)

    def add_route_by(self, link: Link, prefix: IPNetwork, protocol: int) -> None:
        """Let a prefix be on the device's link. DeviceError: there is a route to it already."""
        self._route_by("add", link, prefix, protocol)

    def delete_route_by(self, link: Link, prefix: IPNetwork, protocol: int) -> None:
        """Undo `add_route_by`."""
        self._route_by("del", link, prefix, protocol)

    def _route_by(self, verb: str, link: Link, prefix: IPNetwork, protocol: int) -> None:
        with _explain(f"cannot {verb} the host's route to {prefix} by {link.name}"):
            self._socket.route(
                verb,
                dst=str(prefix),
                family=socket.AF_INET if prefix.version == 4 else socket.AF_INET6,
                oif=link.ifindex,
                proto=protocol,
                scope=_SCOPE_LINK if prefix.version == 4 else 0,
            )

    def flush_neighbours(self, name: str) -> None:
        """Forget the device's ARP and ND entries."""
        with _explain(f"cannot flush the neighbours of {name}"):
            index = self.need(name).ifindex
            for family in (socket.AF_INET, socket.AF_INET6):
                for one in self._socket.get_neighbours(family=family, ifindex=index):
                    try:
                        self._socket.neigh(
                            "del", family=family, ifindex=index, dst=one.get_attr("NDA_DST")
                        )
                    except NetlinkError as error:
                        if error.code != errno.ENOENT:  # it may go by itself meanwhile
                            raise


def _xdp_programs(message: Any) -> tuple[int, ...]:
    """Ids of the XDP programs of a device, whatever the mode."""
    xdp = message.get_attr("IFLA_XDP")
    if xdp is None:
        return ()
    found = (xdp.get_attr(f"IFLA_XDP_{mode}PROG_ID") for mode in ("", "DRV_", "SKB_", "HW_"))
    return tuple(sorted({one for one in found if one}))


def _link(message: Any) -> Link:
    address = message.get_attr("IFLA_ADDRESS") or "00:00:00:00:00:00"
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        ifindex=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        mac=bytes.fromhex(address.replace(":", "")),
        mtu=message.get_attr("IFLA_MTU"),
        flags=message["flags"],
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info is not None else "",
        hardware=message["ifi_type"],
        peer=message.get_attr("IFLA_LINK") or 0,
        peer_elsewhere=message.get_attr("IFLA_LINK_NETNSID") is not None,
        qdisc=message.get_attr("IFLA_QDISC") or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        xdp=_xdp_programs(message),
        alias=message.get_attr("IFLA_IFALIAS") or "",
    )
