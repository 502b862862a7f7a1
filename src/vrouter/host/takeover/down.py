# SPDX-License-Identifier: Apache-2.0
"""The steps that give a NIC back what it had: after a take-over, a half one, or a reboot.

They go by what is saved and what is there now, not by how far the take-over came: each is safe
when its object is not there. What somebody has changed since is left as it is, and told.
"""

from __future__ import annotations

from collections.abc import Sequence

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import Refused
from vrouter.dpcore.names import VifType
from vrouter.host import rtnl
from vrouter.host.devices import packet_devices_down
from vrouter.host.holders import dhclient
from vrouter.host.netlink import Link, mac_text
from vrouter.host.nic import addresses, advertised, handover, neighbours, routes, snapshot, sysctls
from vrouter.host.nic.addresses import Device
from vrouter.host.takeover.pair import VHOST, Host
from vrouter.host.takeover.state import TAKING, State
from vrouter.host.takeover.steps import Step, step


class GiveBack:
    """The steps that undo the take-over saved in `state`. Raises Refused: another NIC is there."""

    def __init__(self, host: Host, state: State) -> None:
        self._host, self._state, self._before = host, state, state.before
        self._nic = _find_nic(host, state)
        outer = host.links.get(VHOST)
        # read before the NIC gets its routes: two equal IPv6 routes become one with two next hops
        self._leaving = snapshot.take(host.links, outer) if outer is not None else None
        self._now = snapshot.take(host.links, self._nic) if self._nic is not None else None

    def steps(self) -> list[Step]:
        """All of them, in order."""
        nic, vhost = self._nic, self._leaving
        found: list[Step] = []
        if vhost is not None:
            found.append(step(self._loosen, f"let {VHOST} accept packets of {self._name}"))
            if self._state.clients:
                found.append(step(self._stop_clients, f"stop dhclient on {VHOST}"))
        if nic is None:
            found.append(
                step(lambda: None, f"{self._name} is gone: nothing to give its addresses to")
            )
        else:
            if not nic.up:
                found.append(step(lambda: self._set_nic("up"), f"set {self._name} up"))
            found.append(Step(self._give_lines(), self._give))
        found.append(step(self._detach, f"take dp-core off {self._name} and delete {VHOST}"))
        if nic is not None:
            found += self._last_steps(nic)
        return found

    def _last_steps(self, nic: Link) -> list[Step]:
        found = []
        if nic.allmulti and not self._before.allmulti:
            found.append(step(self._no_allmulti, f"{self._name} receives its own multicast only"))
        if not self._before.up:
            found.append(step(lambda: self._set_nic("down"), f"set {self._name} down, as it was"))
        if self._state.clients and not self._state.rebooted:
            found.append(step(self._start_clients, f"start dhclient on {self._name} as before"))
        return found

    @property
    def _name(self) -> str:
        return self._nic.name if self._nic is not None else self._state.physical

    @property
    def _device(self) -> Device:
        assert self._nic is not None
        return Device(self._nic.ifindex, self._nic.name)

    # ---- what is given, and what is told ------------------------------------------

    def _addresses(self) -> list[bytes]:
        """The addresses to give: fixed ones as they were, leased ones as vhost0 has them now."""
        before, leaving = self._before.addresses, self._leaving
        if leaving is None:
            return [] if self._is_renumbered() else before
        bodies = {addresses.key(body): body for body in before}
        if self._state.clients and self._state.phase != TAKING:
            # the lease may be another by now
            bodies = {k: body for k, body in bodies.items() if not addresses.is_leased(body)}
        for body in leaving.addresses:
            if addresses.is_leased(body) and not addresses.is_group(body):
                bodies.setdefault(addresses.key(body), body)
        place = {addresses.key(body): number for number, body in enumerate(before)}
        # the first is the primary one
        return [bodies[key] for key in sorted(bodies, key=lambda key: place.get(key, len(place)))]

    def _is_renumbered(self) -> bool:
        """After a reboot: whether the machine gave the NIC other addresses than it had."""
        if not self._state.rebooted or self._now is None:
            return False
        had = {addresses.key(body) for body in self._before.addresses}
        return any(addresses.key(body) not in had for body in self._now.addresses)

    def _routes(self) -> list[bytes]:
        """The routes to give: all but those in whose place the NIC has another now."""
        if self._is_renumbered() or self._now is None:
            return []
        ways = {routes.key(body)[:-1]: routes.key(body) for body in self._now.routes}
        return [
            body
            for body in self._before.routes
            if ways.get(routes.key(body)[:-1], routes.key(body)) == routes.key(body)
        ]

    def _give_lines(self) -> tuple[str, ...]:
        way = f"to {self._name}"
        lines = [f"give address {addresses.text(body)} {way}" for body in self._addresses()]
        lines += [f"give route {routes.text(body)} {way}" for body in self._routes()]
        lines += [f"give back {len(self._before.rules)} rules {way}"] * bool(self._before.rules)
        return tuple(lines) or (f"{self._name} had no address and no route",)

    def _changes(self) -> list[str]:
        """What is not as the take-over left it, or as it was."""
        told: list[str] = []
        before, now, name = self._before, self._now, self._name
        assert now is not None
        _, new = snapshot.gone_and_new(before, now)
        told += [f"{name} has got {text} since: left as it is" for text in new]
        if self._is_renumbered():
            told.append(f"{name} was given other addresses at boot: the old ones are not put back")
        kept = {routes.key(body) for body in self._routes()}
        for body in before.routes:
            if routes.key(body) not in kept and not self._is_renumbered():
                told.append(f"{name} has another route {routes.text(body)} now: left as it is")
        for key, value in before.sysctls.items():
            if now.sysctls.get(key, value) != value:
                told.append(
                    f"sysctl {key} of {name} was {value}, is {now.sysctls[key]}: left as it is"
                )
        for what, was, has in (("MTU", before.mtu, now.mtu), ("MAC", before.mac, now.mac)):
            if was != has:
                told.append(f"{what} of {name} has changed since: left as it is")
        if self._leaving is not None and self._state.phase != TAKING:
            gone, new = snapshot.gone_and_new(before, self._leaving)
            told += [f"{VHOST} had lost {text}: {name} has it again, as before" for text in gone]
            told += [f"{VHOST} has got {text} since: it goes with {VHOST}" for text in new]
        return told

    # ---- doing it -----------------------------------------------------------------

    def _loosen(self) -> None:
        sysctls.write(VHOST, {"ipv4/conf/rp_filter": "2"})

    def _stop_clients(self) -> None:
        dhclient.stop(VHOST)

    def _set_nic(self, state: str) -> None:
        assert self._nic is not None
        self._host.links.set(self._nic, state=state)

    def _give(self) -> Sequence[str]:
        told = self._changes()
        to, before = self._device, self._before
        leaving = self._leaving
        known = leaving.neighbours if leaving is not None else []
        by_hand = [one for one in before.neighbours if neighbours.is_by_hand(one)]
        with rtnl.RtSocket() as rt:
            failed = rt.attempt(
                handover.give_neighbours(by_hand + known, to)
                + self._give_addresses()
                + handover.give_routes(
                    self._routes(), self._renamed(), to, keep_object=not self._state.rebooted
                )
                + handover.give_rules(before, to)
            )
            failed += self._give_advertised()
            if leaving is not None:
                rt.attempt(
                    handover.take_rules(before, leaving.device)
                    + handover.take_routes(leaving.routes, leaving.device)
                )
            failed += rt.attempt(self._surplus(rt))
        return told + [f"cannot {error.filename}: {error.strerror}" for error in failed]

    def _give_addresses(self) -> list[rtnl.Request]:
        """Lifetimes of what stands on vhost0 count from now, those of what is saved from then."""
        leaving = self._leaving
        fresh = {addresses.key(body): body for body in leaving.addresses} if leaving else {}
        made = []
        for body in self._addresses():
            current = fresh.get(addresses.key(body)) if addresses.is_leased(body) else None
            if current is not None and leaving is not None:
                made += handover.give_addresses(leaving, [current], self._device)
            else:
                made += handover.give_addresses(self._before, [body], self._device)
        return made

    def _give_advertised(self) -> list[OSError]:
        """Default routes by advertising routers: those that vhost0 has, else those of then."""
        now = self._leaving if self._leaving is not None else self._before
        found = now.routes if self._state.phase != TAKING else self._before.routes + now.routes
        try:
            advertised.give(found, self._device.ifindex, now.elapsed)
        except OSError as error:
            return [error]
        return []

    def _surplus(self, rt: rtnl.RtSocket) -> list[rtnl.Request]:
        """Routes that the kernel made with an address and that the NIC had not."""
        wanted = {routes.key(body) for body in self._before.routes}
        wanted |= {routes.key(body) for body in self._now.routes} if self._now else set()
        made = [
            body
            for body in routes.dump(rt, self._device.ifindex)
            if routes.is_kernel_made(body) and routes.key(body) not in wanted
        ]
        same_lease = not self._state.clients
        return handover.take_routes(made, self._device) if same_lease else []

    def _renamed(self) -> dict[int, int]:
        """Old to new ifindexes: only a reboot changes those of other devices."""
        renamed = {self._before.device.ifindex: self._device.ifindex}
        if self._state.rebooted:
            now = {link.name: link.ifindex for link in self._host.links.links()}
            for old, name in self._before.devices.items():
                renamed.setdefault(old, now.get(name, old))
        return renamed

    def _detach(self) -> None:
        core = self._host.core
        if core is not None:
            ours = [
                vif
                for vif in core.vifs.items()
                if vif.name == VHOST
                or (vif.type == VifType.PHYSICAL and vif.ifindex == self._before.device.ifindex)
            ]
            # vhost0 first: its going releases the physical vif
            for vif in sorted(ours, key=lambda one: one.type != VifType.HOST):
                core.vifs.delete(vif.idx)
            self._forget_agent(core, {vif.idx for vif in ours})
            core.vifs.end_bypass()
        self._host.links.delete(VHOST)
        packet_devices_down(self._host.links)

    def _forget_agent(self, core: DpCore, gone: set[int]) -> None:
        """What an agent has written of the fabric would lead the next vhost0's packets astray.

        Its next start writes all of it again.
        """
        agent = next((vif for vif in core.vifs.items() if vif.type == VifType.AGENT), None)
        if agent is None:
            return
        for table in (core.inet, core.inet6):
            table.delete_many([(0, route.prefix) for route in list(table.items(0))])
        for nexthop in list(core.nexthops.items()):
            if nexthop.oif in gone | {agent.idx}:
                core.nexthops.delete(nexthop.id)
        core.vifs.delete(agent.idx)
        self._host.links.delete(agent.name)

    def _no_allmulti(self) -> None:
        assert self._nic is not None
        self._host.links.set_allmulti(self._nic, on=False)

    def _start_clients(self) -> None:
        for client in self._state.clients:
            there = client.on(VHOST)
            source = there if there.leases.exists() else client
            dhclient.start(client, source)


def _find_nic(host: Host, state: State) -> Link | None:
    """The NIC by name and MAC; after a reboot it may have another name. None: it is gone."""
    before = state.before
    named = host.links.get(state.physical)
    if named is not None and (named.mac == before.mac or not state.rebooted):
        return named
    same = [
        link
        for link in host.links.links()
        if link.mac == before.mac and link.kind in ("", "veth") and link.name != VHOST
    ]
    if len(same) == 1:
        return same[0]
    if named is not None:
        raise Refused(
            f"{named.name} is not the NIC that vhost0 stood for: that had MAC "
            f"{mac_text(before.mac)}; to forget it: vrouter vhost down --forget"
        )
    return None
