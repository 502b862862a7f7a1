# SPDX-License-Identifier: Apache-2.0
"""All that a device has, at one moment; what of it has changed since."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from vrouter.dpcore.netns import boot_id
from vrouter.host import rtnl
from vrouter.host.netlink import Link, Netlink
from vrouter.host.nic import addresses, groups, neighbours, routes, rules, sysctls
from vrouter.host.nic.addresses import Device

_BODIES = ("addresses", "link_locals", "routes", "rules", "neighbours", "groups")


@dataclass(frozen=True)
class Snapshot:
    """What a device had. Bodies are netlink messages as bytes (see the file of their kind).

    `when` is on CLOCK_BOOTTIME, `wall` the seconds since 1970, for after a reboot; `devices` are
    the names of all ifindexes, which a reboot changes; `limits` as Netlink.limits gives them.
    """

    device: Device
    mac: bytes
    mtu: int
    up: bool
    allmulti: bool
    when: float
    wall: float
    boot: str
    addresses: list[bytes]
    link_locals: list[bytes]
    routes: list[bytes]
    rules: list[bytes]
    neighbours: list[bytes]
    groups: list[bytes]
    sysctls: dict[str, str]
    limits: dict[str, int]
    devices: dict[int, str]

    @property
    def elapsed(self) -> float:
        """Seconds since it was taken, also over a reboot."""
        if self.boot == boot_id():
            return boot_time() - self.when
        return max(0.0, time.time() - self.wall)

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        plain = {
            "ifindex": self.device.ifindex,
            "name": self.device.name,
            "mac": self.mac.hex(":"),
            "devices": {str(number): name for number, name in self.devices.items()},
        }
        for key in ("mtu", "up", "allmulti", "when", "wall", "boot", "sysctls", "limits"):
            plain[key] = getattr(self, key)
        bodies = {key: [body.hex() for body in getattr(self, key)] for key in _BODIES}
        return {**plain, **bodies}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Snapshot:
        """Raises KeyError, TypeError or ValueError when `data` is damaged."""
        bodies = {key: [bytes.fromhex(text) for text in data[key]] for key in _BODIES}
        return cls(
            device=Device(int(data["ifindex"]), str(data["name"])),
            mac=bytes.fromhex(data["mac"].replace(":", "")),
            mtu=int(data["mtu"]),
            up=bool(data["up"]),
            allmulti=bool(data["allmulti"]),
            when=float(data["when"]),
            wall=float(data["wall"]),
            boot=str(data["boot"]),
            sysctls=dict(data["sysctls"]),
            limits=dict(data["limits"]),
            devices={int(number): name for number, name in data["devices"].items()},
            **bodies,
        )


def boot_time() -> float:
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def take(links: Netlink, link: Link) -> Snapshot:
    """Read everything of a device of the calling thread's namespace."""
    device = Device(link.ifindex, link.name)
    with rtnl.RtSocket() as rt:
        found = addresses.dump(rt, link.ifindex)
        return Snapshot(
            device=device,
            mac=link.mac,
            mtu=link.mtu,
            up=link.up,
            allmulti=link.allmulti,
            when=boot_time(),
            wall=time.time(),
            boot=boot_id(),
            addresses=[one for one in found if not addresses.is_link_local(one)],
            link_locals=[one for one in found if addresses.is_link_local(one)],
            routes=routes.dump(rt, link.ifindex),
            rules=rules.dump(rt, link.name),
            neighbours=neighbours.dump(rt, link.ifindex),
            groups=_groups(found, link.name),
            sysctls=sysctls.read(link.name),
            limits=links.limits(link),
            devices={one.ifindex: one.name for one in links.links()},
        )


def _groups(found: list[bytes], name: str) -> list[bytes]:
    """Those that programs hold; those joined by an address (autojoin) move with the address."""
    by_address = {addresses.key(body)[2] for body in found if addresses.is_group(body)}
    return [group for group in groups.joined(name) if group not in by_address]


def gone_and_new(before: Snapshot, now: Snapshot) -> tuple[list[str], list[str]]:
    """What a device no longer has, and what it has got, as texts.

    Leased addresses and what the kernel makes by itself are left out: they come and go.
    """
    was = {**_fixed_addresses(before), **_made_routes(before)}
    has = {**_fixed_addresses(now), **_made_routes(now)}
    gone = [text for key, text in was.items() if key not in has]
    new = [text for key, text in has.items() if key not in was]
    return gone, new


def _fixed_addresses(one: Snapshot) -> dict[tuple[object, ...], str]:
    return {
        ("address", *addresses.key(body)): f"address {addresses.prefix_text(body)}"
        for body in one.addresses
        if not addresses.is_leased(body) and not addresses.is_group(body)
    }


def _made_routes(one: Snapshot) -> dict[tuple[object, ...], str]:
    return {
        ("route", *routes.key(body)): f"route {routes.text(body)}"
        for body in one.routes
        if not routes.is_kernel_made(body)
    }
