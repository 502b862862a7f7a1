# SPDX-License-Identifier: Apache-2.0
"""A forwarding class chooses the transmit queue of a device that has several."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from tests.system.frames import Tap, ethernet, ipv4
from tests.system.topology import ROUTER_MAC, World, run_in
from vrouter.dpcore.names import Family, NhType, VifFlag, VifType
from vrouter.dpcore.records import ForwardingClass, QosMap, Vif
from vrouter.host import netns
from vrouter.host.netlink import Netlink

VRF, QUEUES, FRAMES = 1, 4, 10
FAR = bytes((2, 0, 10, 1, 0, 77))


def packets(space: str, device: str) -> list[int]:
    """What each transmit queue has sent."""
    found = json.loads(run_in(space, f"tc -s -j qdisc show dev {device}"))
    leaves = {one["parent"]: one["packets"] for one in found if "parent" in one}
    return [leaves[f"1:{queue + 1:x}"] for queue in range(QUEUES)]


def test_each_class_takes_its_queue() -> None:
    with World() as world:
        host = world.host()
        guest = host.guest(VRF, 1)
        far = world.namespace("far")
        run_in(
            host.netns,
            f"ip link add many numtxqueues {QUEUES} type veth peer name eth0 "
            f"numrxqueues {QUEUES} netns {far}",
        )
        run_in(far, "ip link set eth0 up")
        run_in(host.netns, "ip link set many up")
        run_in(host.netns, "tc qdisc add dev many root handle 1: mq")
        for queue in range(QUEUES):
            run_in(host.netns, f"tc qdisc add dev many parent 1:{queue + 1:x} pfifo")
        with netns.enter(host.netns), Netlink() as links:
            number = links.need("many").ifindex
            out = host.core.vifs.add(
                Vif(
                    idx=host.core.vifs.free_idx(number),
                    name="many",
                    type=VifType.VIRTUAL,
                    vrf=VRF,
                    mac=ROUTER_MAC,
                    flags=VifFlag.L2 | VifFlag.L3,
                    os_ifindex=number,
                    ifindex=number,
                )
            )
            vif = host.core.vifs.get(guest.vif)
            assert vif is not None
            host.core.vifs.change(replace(vif, qos=1))
        nh = host.put(type=NhType.ENCAP, family=Family.BRIDGE, vrf=VRF, oif=out.idx)
        host.core.bridge.put(VRF, FAR, nh)
        for queue in range(QUEUES):
            host.core.qos.put_class(ForwardingClass(id=queue, dscp=queue, queue=queue))
        host.core.qos.put(QosMap(index=1, dscp=(*range(QUEUES), *[0] * (64 - QUEUES))))
        before = packets(host.netns, "many")
        with Tap(guest.netns) as sender:
            for dscp in range(1, QUEUES):
                for _ in range(dscp * FRAMES):
                    packet = bytearray(ipv4("10.1.0.1", "10.1.0.77", 17, bytes(8)))
                    packet[1] = dscp << 2
                    sender.send(ethernet(FAR, guest.mac, 0x0800, bytes(packet)))
        time.sleep(0.5)
        after = packets(host.netns, "many")
        moved = [now - old for now, old in zip(after, before, strict=True)]
        assert moved == [0, *(queue * FRAMES for queue in range(1, QUEUES))]
