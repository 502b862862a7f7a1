# SPDX-License-Identifier: Apache-2.0
"""Make a lab's namespaces, devices and vRouters, and remove them again."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import Refused, VrouterError
from vrouter.dpcore.instance import find_instance
from vrouter.dpcore.loader import load, unload
from vrouter.dpcore.names import VifType
from vrouter.dpcore.records import Vif
from vrouter.dpcore.sizes import SMALL
from vrouter.host import devices, netns, offload, ports, vhost
from vrouter.host.holders import Holders
from vrouter.host.netlink import Netlink
from vrouter.lab import agents, state
from vrouter.lab.program import l3_encap, program
from vrouter.lab.topology import (
    NIC,
    ROUTER_MAC,
    VM_DEVICE,
    VM_MTU,
    Host,
    Lab,
    Vm,
    mac_bytes,
)

Say = Callable[[str], None]
_NOBODY = Holders([], [])  # of a NIC that was made just now
_NODE = re.compile(r"(h|vm)[0-9]+|gw")
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL


def up(lab: Lab, say: Say) -> Lab:
    """Build a planned lab; one that is whole stays as it is, a broken one is built again.

    A one-host lab that is up goes on to a later stage. Raises Refused when a lab of that id was
    made with other options, Busy when another process is at it. After an error nothing is left.
    """
    there = state.load(lab.id)
    if there is not None and there.phase == "up" and is_whole(there):
        if there.lab == lab.lab == "one-host" and there.stage < lab.stage:
            return _next_stage(there, lab, say)
        if _options(there) != _options(lab):
            raise Refused(
                f"lab {lab.id} is up with {_options(there)}: take it down first, "
                "or give this one another --id"
            )
        say(f"lab {lab.id} is up already")
        return there
    claimed = state.claim(lab, "building")
    try:
        if _remove(claimed):
            say(f"removed what was left of an earlier lab {lab.id}")
        _build(claimed, say)
        return state.finish(claimed)
    except BaseException:
        _remove(claimed)
        state.release(lab.id)
        raise


def down(lab_id: str, say: Say) -> None:
    """Remove a lab, built or half built, and its processes. Nothing there is no error."""
    there = state.load(lab_id)
    if there is None and not _namespaces(lab_id) and lab_id not in state.ids():
        say(f"lab {lab_id} is not up: nothing to do")
        return
    if there is None:  # its file was lost: go by the names alone
        from vrouter.lab.topology import plan  # noqa: PLC0415 - only for this rare case

        there = plan("two-hosts", lab_id)
    claimed = state.claim(there, "leaving")
    for line in _remove(claimed):
        say(line)
    state.release(lab_id)
    say(f"lab {lab_id} is gone")


def is_whole(lab: Lab) -> bool:
    """True if every namespace lives and every host's vRouter is at the lab's stage."""
    if not all(netns.exists(lab.netns(node)) for node in lab.nodes):
        return False
    for host in lab.hosts:
        instance = find_instance(lab.instance(host.name))
        wanted = NIC if lab.stage >= 2 else None
        if not instance.is_loaded() or vhost.physical_of(instance) != wanted:
            return False
        if lab.stage >= 3 and not agents.runs(lab, host):
            return False
    return True


def _options(lab: Lab) -> str:
    if lab.lab == "one-host":
        return f"one-host --stage {lab.stage} --wire {lab.wire}"
    options = f"--encap {lab.encap} --forwarding {lab.forwarding} --wire {lab.wire}"
    return f"{options} --underlay {lab.underlay} --control {lab.control}"


def _next_stage(there: Lab, lab: Lab, say: Say) -> Lab:
    claimed = state.claim(replace(there, stage=lab.stage), "building")
    for host in claimed.hosts:
        if there.stage < 2:
            with netns.enter(claimed.netns(host.name)):
                vhost.up(find_instance(claimed.instance(host.name)), NIC, holders=_NOBODY)
            say(f"{host.name}: {NIC} behind vhost0")
    if lab.stage >= 3:
        agents.start(claimed, *claimed.hosts)
        say(f"{', '.join(host.name for host in claimed.hosts)}: its agent runs")
    return state.finish(claimed)


def _build(lab: Lab, say: Say) -> None:
    for node in lab.nodes:
        netns.create(lab.netns(node))
        with netns.enter(lab.netns(node)), Netlink() as links:
            if lab.vms:
                # only packets that somebody sent on purpose: no ND, MLD, router solicitations
                for scope in ("all", "default"):
                    netns.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)
            links.up("lo")
    say(f"made namespaces {', '.join(lab.netns(node) for node in lab.nodes)}")
    _wire(lab)
    ends = " and ".join(end.name for end in _ends(lab))
    say(f"joined {ends} by a wire ({lab.wire})")
    for host in lab.hosts:
        with netns.enter(lab.netns(host.name)):
            _host(lab, host)
        mine = ", ".join(vm.name for vm in lab.vms if vm.host == host.name)
        place = f", {NIC} behind vhost0" if lab.stage >= 2 else ""
        vms = f", VMs {mine}" if mine else ""
        say(f"{host.name}: vRouter {lab.instance(host.name)}{place}{vms}")
    if lab.stage >= 3:
        agents.start(lab, *lab.hosts)
        agents.settle(lab)
        who = " and ".join(host.name for host in lab.hosts)
        what = ", which got their networks by a file" if lab.networks else ""
        say(f"agents run on {who}{what}")


def _ends(lab: Lab) -> tuple[Host, ...]:
    return (*lab.hosts, *lab.gateways)


def _wire(lab: Lab) -> None:
    left, right = _ends(lab)
    with netns.enter(lab.netns(left.name)), Netlink() as links:
        links.add_veth(
            NIC,
            NIC,
            mac=mac_bytes(left.mac),
            peer_mac=mac_bytes(right.mac),
            mtu=lab.mtu,
            peer_netns=str(netns.path(lab.netns(right.name))),
        )
    for end in _ends(lab):
        with netns.enter(lab.netns(end.name)), Netlink() as links:
            if lab.wire == "plain":
                offload.make_plain(NIC)
            links.add_address(NIC, end.ip, 24)
            if lab.underlay == "6":
                # vhost0, which takes the address over, is yet to come
                for scope in ("all", "default", NIC):
                    ports.quiet_ipv6(scope)
                    if lab.control == "agent":
                        # the kernel resolves for the agent, and asks from its link-local address
                        netns.sysctl(f"net/ipv6/conf/{scope}/addr_gen_mode", 0)
                links.add_address(NIC, end.ip6, 64)
            links.up(NIC)
            if end in lab.hosts and lab.gateways:
                links.add_default_route(lab.gateways[0].ip)


def _host(lab: Lab, host: Host) -> None:
    instance = find_instance(lab.instance(host.name))
    load(instance, SMALL, here=True)
    with DpCore.open(instance) as core:
        devices.ensure_packet_devices(core)
        if lab.stage < 2:
            return
        vhost.up(instance, NIC, holders=_NOBODY)
        for vm in lab.vms:
            if vm.host == host.name:
                _vm(core, lab, vm)
        if lab.vms and lab.control == "tables":
            program(core, lab, host)


def _vm(core: DpCore, lab: Lab, vm: Vm) -> None:
    network = lab.network(vm.network)
    link = ports.make_veth(
        vm.tap,
        ports.Port(
            netns=lab.netns(vm.name),
            device=VM_DEVICE,
            mac=mac_bytes(vm.mac),
            ip=vm.ip,
            prefix=int(network.subnet.partition("/")[2]),
            gateway=network.gateway,
            mtu=VM_MTU,
            ip6=vm.ip6,
            prefix6=int(network.subnet6.partition("/")[2]),
            gateway6=network.gateway6,
        ),
    )
    if lab.control == "agent":
        return
    core.vifs.add(
        Vif(
            idx=core.vifs.free_idx(link.ifindex),
            name=vm.tap,
            type=VifType.VIRTUAL,
            vrf=network.vrf,
            mac=ROUTER_MAC,
            nh_id=l3_encap(lab, vm),
            ip=IPv4Address(vm.ip),
            ip6=IPv6Address(vm.ip6),
            gateway=IPv4Address(network.gateway),
            gateway6=IPv6Address(network.gateway6),
            os_ifindex=link.ifindex,
            ifindex=link.ifindex,
            peer=True,
        )
    )


def _namespaces(lab_id: str) -> list[str]:
    prefix = f"{lab_id}-"
    return [
        name
        for name in netns.names()
        if name.startswith(prefix) and _NODE.fullmatch(name[len(prefix) :])
    ]


def _remove(lab: Lab) -> list[str]:
    """Remove everything of a lab by its names; returns a line for each thing that was there."""
    done: list[str] = []
    namespaces = _namespaces(lab.id)
    ended = _end_processes(namespaces)
    if ended:
        done.append(f"ended processes {', '.join(map(str, ended))}")
    for host in lab.hosts:
        agents.forget(lab, host.name)
        instance = find_instance(lab.instance(host.name))
        if instance.run_dir.exists() or instance.pin_dir.exists():
            vhost.forget(instance)
            with contextlib.suppress(Refused):
                unload(instance)
            # files of an older or newer version, which unload leaves alone
            shutil.rmtree(instance.run_dir, ignore_errors=True)
            done.append(f"unloaded vRouter {instance.name}")
    for name in namespaces:
        if netns.delete(name):
            done.append(f"removed namespace {name}")
    return done


def _end_processes(namespaces: list[str]) -> list[int]:
    spared = _ancestors()
    found = [pid for name in namespaces for pid in netns.processes(name) if pid not in spared]
    if spared & {pid for name in namespaces for pid in netns.processes(name)}:
        raise VrouterError("this command runs inside the lab: run it from outside")
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE
        left = [pid for pid in found if _signal(pid, number)]
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = [pid for pid in left if _signal(pid, 0)]
    return found


def _ancestors() -> set[int]:
    chain: set[int] = set()
    pid = os.getpid()
    while pid > 1 and pid not in chain:
        chain.add(pid)
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
    return chain


def _signal(pid: int, number: int) -> bool:
    """Send a signal; False when the process is gone (or a zombie, which nobody needs)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            if file.read().rpartition(")")[2].split()[0] == "Z":
                return False
        os.kill(pid, number)
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True
