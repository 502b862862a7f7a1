# SPDX-License-Identifier: Apache-2.0
"""vhost0 in the place of a NIC, and back.

vhost0 is a veth pair: its outer end is the host's, its inner end vhost0i is the vif's netdevice.
Order, chosen so that the host's traffic is not interrupted: make the pair; add the vifs, which
attaches dp-core to both (frames for the host now arrive by vhost0, which Linux accepts for an
address that still stands on the NIC, and leave by the NIC); then add addresses and routes to
vhost0, and only then remove them from the NIC. `down` walks the same way back.

What was on the NIC is written to RUN/vhost.json before the first change. A failing step rolls
back; a process killed half-way leaves the file, and the next `up` or `down` rolls back first.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import DeviceError, Refused, VrouterError
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.names import VifFlag, VifType
from vrouter.dpcore.records import Vif
from vrouter.host import netns, takeover
from vrouter.host.devices import packet_devices_down, packet_devices_up
from vrouter.host.netlink import ARPHRD_ETHER, Link, Netlink, mac_text

VHOST = "vhost0"
INNER = "vhost0i"
STATE_FILE = "vhost.json"
_COPIED = {
    "ipv4": (
        "forwarding", "rp_filter", "arp_ignore", "arp_announce", "arp_filter", "arp_notify",
        "accept_local", "accept_redirects", "proxy_arp", "promote_secondaries",
    ),
    "ipv6": (
        "disable_ipv6", "forwarding", "accept_ra", "autoconf", "use_tempaddr", "accept_redirects",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class State:
    """What `down` needs: the NIC as it was, and how far `up` came."""

    physical: str
    ifindex: int
    was_up: bool
    complete: bool
    saved: takeover.Saved

    def write(self, instance: Instance) -> None:
        """Write it whole: a new file, then a rename over the old one."""
        target = _state_path(instance)
        data = {
            "physical": self.physical,
            "ifindex": self.ifindex,
            "was_up": self.was_up,
            "complete": self.complete,
            "saved": self.saved.to_json(),
        }
        fresh = target.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(target)

    @classmethod
    def read(cls, instance: Instance) -> State | None:
        """The saved state, or None when vhost0 is not up."""
        target = _state_path(instance)
        try:
            data: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
            return cls(
                physical=str(data["physical"]),
                ifindex=int(data["ifindex"]),
                was_up=bool(data["was_up"]),
                complete=bool(data["complete"]),
                saved=takeover.Saved.from_json(data["saved"]),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError) as error:
            raise VrouterError(
                f"cannot read {target} ({error}): it was damaged; give the NIC its addresses by "
                "hand and delete the file"
            ) from error


def _state_path(instance: Instance) -> Path:
    return instance.run_dir / STATE_FILE


def create(mac: bytes, *, name: str = VHOST, mtu: int = 1500) -> bool:
    """Make the vhost0 pair in the current namespace with `mac` (6 bytes) on the host's end.

    Both ends are up afterwards. False when it exists; DeviceError when it is no veth.
    """
    with Netlink() as links:
        return _create_pair(links, name, mac, mtu)


def inner_end(name: str = VHOST) -> str:
    """Name of the end of a vhost pair on which dp-core receives."""
    return name + "i"


def up(instance: Instance, physical: str) -> list[str]:
    """Put vhost0 in the place of NIC `physical`; returns a line for each thing done.

    Idempotent. Raises Refused or DeviceError; after an error the NIC is as it was.
    """
    with DpCore.open(instance) as core, instance.enter_netns(), core.lock(), Netlink() as links:
        done: list[str] = []
        state = State.read(instance)
        if state is not None and state.complete:
            if state.physical != physical:
                raise Refused(
                    f"{VHOST} stands for {state.physical} already: run `vrouter vhost down` first"
                )
            if _is_whole(core, links, state):
                return [f"{VHOST} is up on {physical} already"]
        if state is not None:
            done += ["rolling back an earlier attempt that did not finish"]
            done += _restore(core, links, state)
        nic = _usable(core, links, physical)
        saved = takeover.collect(nic.name, nic.ifindex)
        state = State(nic.name, nic.ifindex, nic.up, complete=False, saved=saved)
        state.write(instance)
        with _rollback(core, links, state):
            done += _take_over(core, links, nic, state)
            State(nic.name, nic.ifindex, nic.up, complete=True, saved=saved).write(instance)
        return done


def down(instance: Instance) -> list[str]:
    """Give the NIC back what it had and remove vhost0. Idempotent; lines as `up`."""
    with DpCore.open(instance) as core, instance.enter_netns(), core.lock(), Netlink() as links:
        state = State.read(instance)
        if state is None:
            return [f"{VHOST} is not up: nothing to do"]
        return _restore(core, links, state)


def physical_of(instance: Instance) -> str | None:
    """Name of the NIC that vhost0 stands for; None when vhost0 is not up."""
    state = State.read(instance)
    return state.physical if state is not None and state.complete else None


def forget(instance: Instance) -> None:
    """Drop the saved state of a NIC that goes away with its namespace; changes nothing else."""
    _state_path(instance).unlink(missing_ok=True)
    _state_path(instance).with_suffix(".new").unlink(missing_ok=True)


@contextlib.contextmanager
def _rollback(core: DpCore, links: Netlink, state: State) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        _restore(core, links, state)
        if isinstance(error, OSError):
            what = error.filename or "a system call"
            raise VrouterError(
                f"vhost up on {state.physical}: cannot {what}: {error.strerror}; "
                f"{state.physical} is as it was"
            ) from error
        raise


def _usable(core: DpCore, links: Netlink, physical: str) -> Link:
    nic = links.need(physical)
    if physical in (VHOST, INNER) or nic.hardware != ARPHRD_ETHER:
        raise DeviceError(f"{physical} cannot be the physical device: it must be an Ethernet NIC")
    for vif in core.vifs.items():
        if vif.ifindex == nic.ifindex or vif.name == VHOST:
            raise Refused(
                f"{vif.name} is vif0/{vif.idx} already: delete it first (vif --delete {vif.idx})"
            )
    if links.get(VHOST) is not None:
        raise Refused(f"netdevice {VHOST} exists already: delete it first (ip link del {VHOST})")
    return nic


def _is_whole(core: DpCore, links: Netlink, state: State) -> bool:
    outer, inner, nic = links.get(VHOST), links.get(INNER), links.get(state.physical)
    if outer is None or inner is None or nic is None:
        return False
    found = {vif.ifindex for vif in core.vifs.items()}
    return {inner.ifindex, nic.ifindex} <= found


def _create_pair(links: Netlink, name: str, mac: bytes, mtu: int) -> bool:
    there = links.get(name)
    if there is not None:
        if there.kind != "veth":
            raise DeviceError(f"netdevice {name} exists and is a {there.kind}, not ours")
        return False
    outer = links.add_veth(name, inner_end(name), mac=mac, mtu=mtu)
    inner = links.need(inner_end(name))
    # the inner end is dp-core's: the kernel must not speak on it
    links.no_link_local(inner)
    netns.sysctl(f"net/ipv6/conf/{inner.name}/disable_ipv6", 1)
    links.set(inner, state="up")
    links.set(outer, state="up")
    for end in (outer, inner):
        links.wait_ready(end.name)
    return True


def _take_over(core: DpCore, links: Netlink, nic: Link, state: State) -> list[str]:
    done = [f"saved the addresses and routes of {nic.name}"]
    _create_pair(links, VHOST, nic.mac, nic.mtu)
    _copy_sysctls(nic.name, VHOST)
    outer, inner = links.need(VHOST), links.need(INNER)
    done.append(f"made {VHOST} with MAC {mac_text(nic.mac)}, MTU {nic.mtu}")
    packet_devices_up(links)
    if not nic.up:
        links.set(nic, state="up")
    idx = core.vifs.free_idx(nic.ifindex)
    core.vifs.add(
        Vif(
            idx=idx,
            name=nic.name,
            type=VifType.PHYSICAL,
            vrf=0,
            mac=nic.mac,
            flags=VifFlag.VHOST_PHYS,
            os_ifindex=nic.ifindex,
            ifindex=nic.ifindex,
        )
    )
    host_idx = core.vifs.free_idx(outer.ifindex)
    core.vifs.add(
        Vif(
            idx=host_idx,
            name=VHOST,
            type=VifType.HOST,
            vrf=0,
            mac=nic.mac,
            flags=VifFlag(0),
            os_ifindex=outer.ifindex,
            ifindex=inner.ifindex,
            xconnect=idx,
        )
    )
    done.append(f"added vif0/{idx} ({nic.name}) and vif0/{host_idx} ({VHOST}), cross-connected")
    takeover.copy_neighbours(nic.ifindex, outer.ifindex)
    takeover.move(state.saved, outer.ifindex, VHOST)
    saved = state.saved
    done.append(
        f"moved {len(saved.addresses)} address(es) and {len(saved.routes)} route(s) "
        f"from {nic.name} to {VHOST}"
    )
    return done


def _restore(core: DpCore, links: Netlink, state: State) -> list[str]:
    """Undo as much as was done; every step is safe when its object is not there."""
    done: list[str] = []
    nic, outer = links.get(state.physical), links.get(VHOST)
    # read before the NIC gets its routes: two equal IPv6 routes become one with two next hops
    leaving = takeover.collect(VHOST, outer.ifindex) if outer is not None else None
    if nic is not None:
        if outer is not None:
            takeover.copy_neighbours(outer.ifindex, nic.ifindex)
        takeover.move(state.saved, nic.ifindex, nic.name, back=True)
        done.append(
            f"gave {nic.name} back {len(state.saved.addresses)} address(es) and "
            f"{len(state.saved.routes)} route(s)"
        )
    else:
        done.append(f"{state.physical} is gone: there is nothing to give its addresses to")
    if leaving is not None:
        takeover.take_away(leaving)
    done += _delete_vifs(core, state)
    if links.delete(VHOST):
        done.append(f"removed {VHOST}")
    packet_devices_down(links)
    if nic is not None and not state.was_up:
        links.set(nic, state="down")
    _state_path(core.instance).unlink(missing_ok=True)
    return done


def _delete_vifs(core: DpCore, state: State) -> list[str]:
    ours = [
        vif
        for vif in core.vifs.items()
        if vif.name == VHOST or (vif.type == VifType.PHYSICAL and vif.ifindex == state.ifindex)
    ]
    # vhost0 first: its going releases the physical vif
    for vif in sorted(ours, key=lambda one: one.type != VifType.HOST):
        core.vifs.delete(vif.idx)
    return [f"deleted vif0/{vif.idx} ({vif.name})" for vif in ours]


def _copy_sysctls(source: str, target: str) -> None:
    for family, keys in _COPIED.items():
        base = Path("/proc/sys/net") / family / "conf"
        for key in keys:
            with contextlib.suppress(OSError):
                (base / target / key).write_text((base / source / key).read_text())
