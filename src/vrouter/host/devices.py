# SPDX-License-Identifier: Apache-2.0
"""pkt1, pkt2 and pkt3: the devices that exist once dp-core is loaded.

Each is a veth pair, its far end called pkt1r, pkt2r, pkt3r. pkt1 (GRO of L3 packets) and pkt3
(GRO of L2 packets) are vifs of type Stats with fixed numbers; pkt2 (RPS) has no vif.

The exception pair, vrx0 and vrx1, is ours: dp-core sends the few packets that it must quote
into vrx0, which has no offloads, and gets them back, complete, at vrx1. It is up from the load on.
"""

from __future__ import annotations

from vrouter.dpcore import exception
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import DeviceError
from vrouter.dpcore.names import VifFlag, VifType
from vrouter.dpcore.records import Vif
from vrouter.host import netns, offload
from vrouter.host.netlink import Link, Netlink

PACKET_DEVICES = ("pkt1", "pkt2", "pkt3")
STATS_VIFS = {"pkt1": 4351, "pkt3": 4350}
EXCEPTION_OUT, EXCEPTION_IN = "vrx0", "vrx1"
PACKET_MTU = 65535
_NO_VRF = 65535


def far_end(name: str) -> str:
    """Name of the other end of a packet device's pair."""
    return name + "r"


def ensure_packet_devices(core: DpCore) -> list[str]:
    """Make what is missing: pkt1-3, their vifs and the exception pair in its namespace.

    Idempotent; returns a line for each thing that was done. Raises DeviceError when a device of
    that name exists and is no veth.
    """
    done: list[str] = []
    with core.instance.enter_netns(), Netlink() as links:
        for name in PACKET_DEVICES:
            link = links.get(name)
            if link is None:
                link = _make(links, name, far_end(name))
                done.append(f"made {name}")
            elif link.kind != "veth":
                raise DeviceError(
                    f"netdevice {name} exists and is a {link.kind or 'real device'}, not ours: "
                    "rename or delete it, then load again"
                )
            if name in STATS_VIFS and _ensure_vif(core, link):
                done.append(f"added vif0/{STATS_VIFS[name]} ({name})")
        if exception.is_known(core):
            done += _ensure_exception_pair(core, links)
    return done


def _ensure_exception_pair(core: DpCore, links: Netlink) -> list[str]:
    done = []
    out, back = links.get(EXCEPTION_OUT), links.get(EXCEPTION_IN)
    if out is None:
        out = _make(links, EXCEPTION_OUT, EXCEPTION_IN)
        done.append(f"made {EXCEPTION_OUT}")
    elif out.kind != "veth" or back is None or back.kind != "veth":
        raise DeviceError(
            f"netdevice {EXCEPTION_OUT} exists and is not ours: rename or delete it, "
            "then load again"
        )
    offload.make_plain(EXCEPTION_OUT)
    back = links.need(EXCEPTION_IN)
    for end in (back, out):
        if not end.up:
            links.set(end, state="up")
    if not exception.is_tied(core, out.ifindex, back.ifindex):
        exception.tie(core, out.ifindex, back.ifindex)
        done.append(f"tied dp-core to {EXCEPTION_OUT}")
    return done


def remove_packet_devices(core: DpCore) -> list[str]:
    """Undo `ensure_packet_devices`; what is not there is passed over."""
    done: list[str] = []
    with core.instance.enter_netns(), Netlink() as links:
        for name in PACKET_DEVICES:
            idx = STATS_VIFS.get(name)
            if idx is not None and core.vifs.get(idx) is not None:
                core.vifs.delete(idx)
            done += _remove(links, name)
        if exception.is_known(core):
            exception.untie(core)
            done += _remove(links, EXCEPTION_OUT)
    return done


def _remove(links: Netlink, name: str) -> list[str]:
    link = links.get(name)
    removed = link is not None and link.kind == "veth" and links.delete(name)
    return [f"removed {name}"] if removed else []


def packet_devices_up(links: Netlink) -> None:
    """Set all three pairs up, as bringing up vhost0 does."""
    for name in PACKET_DEVICES:
        for end in (name, far_end(name)):
            link = links.get(end)
            if link is not None and not link.up:
                links.set(link, state="up")


def packet_devices_down(links: Netlink) -> None:
    """Set all three pairs down again."""
    for name in PACKET_DEVICES:
        for end in (name, far_end(name)):
            link = links.get(end)
            if link is not None and link.up:
                links.set(link, state="down")


def _make(links: Netlink, name: str, far: str) -> Link:
    link = links.add_veth(name, far, mtu=PACKET_MTU)
    for end in (name, far):
        # the kernel's own ND and MLD frames would be counted as packets of ours
        netns.sysctl(f"net/ipv6/conf/{end}/disable_ipv6", 1)
    return link


def _ensure_vif(core: DpCore, link: Link) -> bool:
    idx = STATS_VIFS[link.name]
    there = core.vifs.get(idx)
    if there is not None and there.ifindex == link.ifindex:
        return False
    if there is not None:
        core.vifs.delete(idx)  # of a device that was deleted behind our back
    core.vifs.add(
        Vif(
            idx=idx,
            name=link.name,
            type=VifType.STATS,
            vrf=_NO_VRF,
            mac=bytes(6),
            flags=VifFlag.L3 | VifFlag.L2,
            os_ifindex=link.ifindex,
            ifindex=link.ifindex,
        )
    )
    return True
