# SPDX-License-Identifier: Apache-2.0
"""The steps by which vhost0 takes a NIC's place.

Their order keeps the host's traffic going: make the pair; add the vifs, which attaches dp-core to
both (frames for the host then arrive by vhost0, which Linux accepts for an address that still
stands on the NIC, and leave by the NIC); give vhost0 the routes; only then take everything from
the NIC.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.names import VifFlag, VifType
from vrouter.dpcore.records import Vif
from vrouter.host import rtnl
from vrouter.host.devices import packet_devices_up
from vrouter.host.holders import dhclient
from vrouter.host.netlink import Link, Netlink, mac_text
from vrouter.host.nic import (
    addresses,
    advertised,
    groups,
    handover,
    neighbours,
    routes,
    rules,
    sysctls,
)
from vrouter.host.nic.addresses import Device
from vrouter.host.takeover import pair
from vrouter.host.takeover.pair import VHOST
from vrouter.host.takeover.state import State
from vrouter.host.takeover.steps import Step, step

# While addresses and routes move, a packet may come in by one device and belong to the other;
# and an address that has been in use needs no duplicate detection.
_MEANWHILE = {"ipv4/conf/rp_filter": "2", "ipv6/conf/accept_dad": "0"}
_CONFIRM_SECONDS = 5.0  # for the DHCP server's answer


class TakeOver:
    """The steps for NIC `nic`, as saved in `state`. `core` may be None to only list them."""

    def __init__(self, core: DpCore | None, links: Netlink, nic: Link, state: State) -> None:
        self._core, self._links, self._nic, self._state = core, links, nic, state
        self._before = state.before

    def steps(self) -> list[Step]:
        """All of them, in order."""
        nic, before = self._nic, self._before
        found = [
            step(
                self._make,
                f"make {VHOST} with MAC {mac_text(nic.mac)}, MTU {nic.mtu} and the "
                f"{len(before.sysctls)} sysctls of {nic.name}",
            ),
            step(self._packet_devices, "set pkt1, pkt2, pkt3 up"),
        ]
        if not nic.up:
            found.append(step(self._nic_up, f"set {nic.name} up"))
        if not nic.allmulti:
            found.append(
                step(self._allmulti, f"let {nic.name} receive all multicast: {VHOST} chooses")
            )
        if before.addresses:
            found.append(step(self._prepare, f"tell {VHOST} the addresses of {nic.name}"))
        found.append(
            step(self._attach, f"add {nic.name} and {VHOST} as vifs, cross-connected (dp-core)")
        )
        found += [step(self._stop_clients, line) for line in self._client_lines("stop")]
        found.append(Step(self._lines(), self._move))
        found.append(step(self._settle, f"set the last sysctls of {VHOST}"))
        found += [step(self._start_clients, line) for line in self._client_lines("start")]
        return found

    def _lines(self) -> tuple[str, ...]:
        before, name = self._before, self._nic.name
        way = f"from {name} to {VHOST}"
        by_hand = [one for one in before.neighbours if neighbours.is_by_hand(one)]
        lines = [f"move address {addresses.text(body)} {way}" for body in before.addresses]
        lines += [f"move route {routes.text(body)} {way}" for body in before.routes]
        lines += [f"move rule {rules.text(body)} {way}" for body in before.rules]
        lines += [f"copy neighbour {neighbours.text(body)} to {VHOST}" for body in by_hand]
        lines += [f"join group {groups.text(group)} on {VHOST}" for group in before.groups]
        return tuple(lines) or (f"{name} has no address and no route to move",)

    def _client_lines(self, verb: str) -> list[str]:
        names = [f"dhclient -{client.family}" for client in self._state.clients]
        text = f"{', '.join(names)} on {self._nic.name}"
        if verb == "start":
            text = f"{', '.join(names)} on {VHOST} with the lease of {self._nic.name}"
        return [f"{verb} {text}"] if names else []

    @property
    def _vhost(self) -> Device:
        return Device(self._links.need(VHOST).ifindex, VHOST)

    def _make(self) -> None:
        def prepare(outer: Link) -> None:
            self._links.set_limits(outer, self._before.limits)
            sysctls.write(VHOST, {**self._before.sysctls, **_MEANWHILE})

        pair.make(self._links, VHOST, self._nic.mac, self._nic.mtu, prepare)

    def _packet_devices(self) -> None:
        packet_devices_up(self._links)

    def _nic_up(self) -> None:
        self._links.set(self._nic, state="up")

    def _allmulti(self) -> None:
        # its own filter knows only the groups joined on it, and they are joined on vhost0 now
        self._links.set_allmulti(self._nic, on=True)

    def _prepare(self) -> None:
        # from the moment of attaching, ND asks vhost0; and where rp_filter is on, Linux takes
        # nothing from a device without an address
        with rtnl.RtSocket() as rt:
            rt.batch(handover.give_early(self._before, self._vhost))

    def _attach(self) -> None:
        assert self._core is not None
        nic, vifs = self._nic, self._core.vifs
        outer, inner = self._links.need(VHOST), self._links.need(pair.inner_end())
        idx = vifs.free_idx(nic.ifindex)
        vifs.add(
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
        vifs.add(
            Vif(
                idx=vifs.free_idx(outer.ifindex),
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

    def _stop_clients(self) -> None:
        # before its address goes: it might give the NIC the address again
        dhclient.stop(self._nic.name)

    def _move(self) -> None:
        before, nic, vhost = self._before, self._before.device, self._vhost
        renamed = {nic.ifindex: vhost.ifindex}
        with rtnl.RtSocket() as rt:
            known = neighbours.dump(rt, nic.ifindex)
            rt.batch(
                handover.give_neighbours(known, vhost)
                + handover.give_addresses(before, before.link_locals + before.addresses, vhost)
                + handover.give_routes(before.routes, renamed, vhost, keep_object=False)
                + handover.give_rules(before, vhost)
                + handover.join_groups(before.groups, vhost)
            )
            advertised.give(before.routes, vhost.ifindex, before.elapsed)
            rt.batch(
                handover.take_rules(before, nic)
                + handover.take_routes(before.routes, nic)
                + handover.take_addresses(before.addresses, nic)
            )

    def _settle(self) -> Sequence[str]:
        own = {key: value for key, value in self._before.sysctls.items() if key in _MEANWHILE}
        sysctls.write(VHOST, own)
        now = sysctls.read(VHOST)
        differ = [key for key, value in self._before.sysctls.items() if now.get(key) != value]
        return [f"the kernel did not let {VHOST} have {key} as {self._nic.name}" for key in differ]

    def _start_clients(self) -> Sequence[str]:
        since = time.time()
        notes = []
        for client in self._state.clients:
            there = client.on(VHOST)
            dhclient.start(there, client)
            if there.family == "4":
                notes += self._renewed(dhclient.confirmed(there, since, _CONFIRM_SECONDS))
        return notes

    def _renewed(self, seconds: int | None) -> list[str]:
        if seconds is None:
            return [
                "the DHCP server has not confirmed the lease yet; dhclient goes on asking, and "
                "the address lives as long as the lease did"
            ]
        # dhclient's script adds an address that is there already: its lifetime would stay
        with rtnl.RtSocket() as rt:
            leased = [
                one
                for one in addresses.dump(rt, self._vhost.ifindex)
                if addresses.is_leased(one) and len(addresses.key(one)[2]) == 4
            ]
            rt.batch([handover.prolong(one, seconds) for one in leased[:1]])
        return [f"the DHCP server has confirmed the lease for {seconds} s"]
