# SPDX-License-Identifier: Apache-2.0
"""The plan, written out by hand for small cases; a change planned alone is the whole planned."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network

import msgspec
import pytest
from tests.unit.agent.builders import (
    BLUE,
    FAR_HOST,
    FAR_MAC,
    OWN_MAC,
    Rig,
    endpoint,
    interface,
    membership,
    rig,
)

from vrouter.agent.desired.records import (
    AddressPair,
    Gateway,
    LinkLocal,
    Network,
    Record,
    StaticRoute,
    Subnet,
)
from vrouter.agent.facade import Rejected
from vrouter.agent.facts import Device, KernelRoute, service_device, service_vrf
from vrouter.agent.plan.entries import Diff, Entries, PlannedMac, PlannedRoute, compare
from vrouter.agent.plan.local import SERVICE_MAC
from vrouter.agent.plan.networks import MOST_GROUPS
from vrouter.agent.plan.numbers import (
    BROADCAST,
    NH_AGENT,
    NH_DISCARD,
    NH_L2_RECEIVE,
    NH_RESOLVE,
    NH_VHOST,
    ROUTER_MAC,
)
from vrouter.agent.plan.planner import GROUPS
from vrouter.dpcore.errors import Refused
from vrouter.dpcore.names import Family, NhFlag, NhType, RouteFlag, VifFlag
from vrouter.dpcore.records import Source

PROXY = RouteFlag.ARP_PROXY
TUNNELLED = PROXY | RouteFlag.LABEL_VALID


def net(text: str) -> IPv4Network:
    return IPv4Network(text)


def test_the_host_itself() -> None:
    planned = rig().planner.wanted()
    assert {idx: (vif.name, vif.nh_id) for idx, vif in planned.vif.items()} == {
        0: ("eth0", 4),
        1: ("vhost0", 5),
        2: ("pkt0", 0),
    }
    assert planned.bridge == {(0, OWN_MAC): PlannedMac(NH_L2_RECEIVE)}
    far = planned.route[0, net("172.30.0.2/32")].nh
    assert planned.nexthop[far].rewrite == FAR_MAC + OWN_MAC + b"\x08\x00"
    assert {str(prefix): route.nh for (_, prefix), route in planned.route.items()} == {
        "0.0.0.0/0": NH_RESOLVE,
        "172.30.0.0/24": NH_RESOLVE,
        "172.30.0.1/32": NH_VHOST,
        "172.30.0.255/32": NH_VHOST,
        "172.30.0.2/32": far,
    }


def test_a_network_with_a_port_and_an_endpoint() -> None:
    made = rig("tap1")
    made.change(BLUE, FAR_HOST, interface(1), endpoint(3), membership())
    planned = made.planner.wanted()
    (idx,) = set(planned.vif) - {0, 1, 2}
    vif = planned.vif[idx]
    routed, bridged = vif.nh_id, planned.bridge[vif.vrf, bytes.fromhex("02000a010001")].nh
    assert planned.nexthop[bridged].oif == planned.nexthop[routed].oif == idx
    assert planned.nexthop[routed].rewrite == bytes.fromhex("02000a010001") + ROUTER_MAC + b"\x08\0"
    assert vif.flags & (VifFlag.DHCP | VifFlag.L2 | VifFlag.L3)
    assert planned.sources[idx] == {
        Source(mac=bytes.fromhex("02000a010001")),
        Source(mac=bytes.fromhex("02000a010001"), prefix=net("10.1.1.1/32")),
    }
    mine = {str(prefix): route for (vrf, prefix), route in planned.route.items() if vrf == vif.vrf}
    far = made.ids.get("nexthop", "host/h2/mplsoudp")
    assert far is not None
    far_mac = bytes.fromhex("02000a010103")
    assert mine == {
        "10.1.1.254/32": PlannedRoute(NH_AGENT, None, PROXY),
        "10.1.1.1/32": PlannedRoute(routed, None, PROXY, bytes.fromhex("02000a010001")),
        "10.1.1.3/32": PlannedRoute(far, 103, TUNNELLED, far_mac),
        "224.0.0.0/4": PlannedRoute(mine["ff00::/8"].nh),
        "ff00::/8": PlannedRoute(mine["ff00::/8"].nh),
    }
    _check_groups(planned, mine["ff00::/8"].nh, idx)
    macs = {mac: one for (vrf, mac), one in planned.bridge.items() if vrf == vif.vrf}
    assert macs[far_mac] == PlannedMac(far, 203)
    assert macs[ROUTER_MAC] == macs[OWN_MAC] == PlannedMac(NH_L2_RECEIVE)
    groups = made.ids.get("nexthop", "interface/vm1/multicast")
    assert groups is not None
    _check_tree(planned, macs[BROADCAST].nh, groups, far)
    assert set(planned.mpls.values()) >= {routed, bridged, macs[BROADCAST].nh}
    assert planned.nexthop[planned.vxlan[5001]].type == NhType.VRF_TRANSLATE


def _check_groups(planned: Entries, nexthop: int, vif: int) -> None:
    """Routed: to each port with the group's MAC, never into a tunnel, which carries frames."""
    assert planned.nexthop[nexthop].family == Family.INET
    assert planned.nexthop[nexthop].flags & NhFlag.COMPOSITE_ENCAP
    (member,) = planned.nexthop[nexthop].members
    assert planned.nexthop[member.nh].oif == vif
    assert planned.nexthop[member.nh].flags & NhFlag.MULTICAST
    assert planned.nexthop[member.nh].rewrite[6:12] == ROUTER_MAC


def _check_tree(planned: Entries, top: int, here: int, far: int) -> None:
    assert planned.nexthop[top].flags & NhFlag.MULTICAST
    local, remote = (planned.nexthop[member.nh] for member in planned.nexthop[top].members)
    assert [member.nh for member in local.members] == [here]
    assert [(member.nh, member.label) for member in remote.members] == [(far, 501)]


@pytest.mark.parametrize(
    ("encapsulations", "vni", "labels", "expected"),
    [
        (("mplsoudp", "vxlan"), 5001, (103, 203), ("mplsoudp", 103, "mplsoudp", 203)),
        (("mplsoudp", "vxlan"), 5001, (0, 0), ("l3-vxlan", 5001, "vxlan", 5001)),
        (("vxlan",), 0, (103, 203), None),
        (("vxlan", "mplsogre"), 0, (103, 203), ("mplsogre", 103, "mplsogre", 203)),
        (("mplsogre",), 5001, (0, 203), (None, None, "mplsogre", 203)),
    ],
)
def test_the_first_encapsulation_that_can_be_used(
    encapsulations: tuple[str, ...],
    vni: int,
    labels: tuple[int, int],
    expected: tuple[str | None, int | None, str, int] | None,
) -> None:
    made = rig()
    host = msgspec.structs.replace(FAR_HOST, encapsulations=encapsulations)
    network = msgspec.structs.replace(BLUE, vni=vni)
    made.change(network, host, endpoint(3, label=labels[0], l2_label=labels[1]))
    planned = made.planner.wanted()
    vrf = made.ids.get("VRF", "network/blue")
    assert vrf is not None
    route = planned.route.get((vrf, net("10.1.1.3/32")))
    mac = planned.bridge.get((vrf, bytes.fromhex("02000a010103")))
    if expected is None:
        assert route is None and mac is None
        return
    kind, label, l2_kind, l2_label = expected
    assert mac == PlannedMac(made.ids.get("nexthop", f"host/h2/{l2_kind}") or 0, l2_label)
    if kind is None:
        assert route is None
    else:
        assert route is not None
        assert (route.nh, route.label) == (made.ids.get("nexthop", f"host/h2/{kind}"), label)


def test_a_host_that_does_not_answer_has_tunnels_without_valid() -> None:
    made = rig(resolved=False)
    made.change(FAR_HOST)
    tunnels = [one for one in made.planner.wanted().nexthop.values() if one.type == NhType.TUNNEL]
    assert len(tunnels) == 4 and not any(one.flags & NhFlag.VALID for one in tunnels)


def test_l3_only_answers_for_every_address_with_the_routers_mac() -> None:
    made = rig("tap1")
    made.change(msgspec.structs.replace(BLUE, forwarding="l3"), interface(1))
    planned = made.planner.wanted()
    vrf = made.ids.get("VRF", "network/blue")
    assert vrf is not None
    assert planned.route[vrf, net("10.1.1.0/24")] == PlannedRoute(NH_DISCARD, None, PROXY)
    assert planned.route[vrf, net("10.1.1.1/32")].stitch is None
    assert (vrf, bytes.fromhex("02000a010001")) not in planned.bridge


def test_a_port_waits_for_its_device_and_keeps_its_numbers() -> None:
    made = rig()
    made.change(BLUE, interface(1))
    assert made.planner.device_of(interface(1)) == (None, "there is no netdevice tap1 yet")
    label = made.ids.get("label", "interface/vm1/l3")
    assert label is not None
    made.facts.devices["tap1"] = Device(77, "tap1")
    diff = made.planner.replan(made.planner.of_devices(["tap1"])).diff
    assert [vif.ifindex for vif in diff.put.vif.values()] == [77] and label in diff.put.mpls
    del made.facts.devices["tap1"]
    gone = made.planner.replan(made.planner.of_devices(["tap1"])).diff
    assert gone.delete["vif"] == list(diff.put.vif) and not made.planner.wanted().sources
    assert made.ids.get("label", "interface/vm1/l3") == label


def test_sub_interfaces_wait_for_their_parent() -> None:
    made = rig("tap1")
    child = interface(2, parent="vm1", device="", vlan=100)
    made.change(BLUE, interface(1), child)
    planned = made.planner.wanted()
    vif = planned.vif[made.ids.get("vif", "interface/vm2") or 0]
    assert (vif.parent, vif.vlan, vif.ovlan, vif.ifindex) == (
        made.ids.get("vif", "interface/vm1"),
        100,
        100,
        100,
    )
    made.change(msgspec.structs.replace(interface(1), enabled=False))
    assert made.planner.device_of(child)[1] == "vm1 is not active: it is disabled"
    assert set(made.planner.wanted().vif) == {0, 1, 2}


def test_address_pairs_may_speak_and_are_learnt() -> None:
    made = rig("tap1")
    pairs = (
        AddressPair(prefix="10.1.1.100/32"),
        AddressPair(prefix="10.9.0.0/16", mac="02:00:00:00:00:99"),
    )
    made.change(BLUE, interface(1, allowed_address_pairs=pairs))
    (sources,) = made.planner.wanted().sources.values()
    own, other = bytes.fromhex("02000a010001"), bytes.fromhex("020000000099")
    assert sources == {
        Source(mac=own),
        Source(mac=own, prefix=net("10.1.1.1/32")),
        Source(mac=own, prefix=net("10.1.1.100/32")),
        Source(mac=other),
        Source(mac=other, prefix=net("10.9.0.0/16")),
    }


def test_a_static_route_follows_its_next_hop() -> None:
    made = rig("tap1")
    behind = StaticRoute(name="r", network="blue", prefix="0.0.0.0/0", next_hop="10.1.1.3")
    made.change(BLUE, FAR_HOST, interface(1), endpoint(3), behind)
    vrf = made.ids.get("VRF", "network/blue") or 0
    where = vrf, net("0.0.0.0/0")
    assert made.planner.wanted().route[where].label == 103
    moved = interface(3, device="tap1", addresses=("10.1.1.3",))
    made.change(moved, gone=(("endpoint", "far3"), ("interface", "vm1")))
    found = made.planner.wanted().route[where]
    assert found.nh == made.ids.get("nexthop", "interface/vm3/l3") and found.label is None


def test_what_is_removed_leaves_nothing() -> None:
    made = rig("tap1")
    before = made.planner.wanted()
    made.change(BLUE, FAR_HOST, interface(1), endpoint(3), membership())
    made.change(gone=tuple(made.state.keys()))
    assert not compare(before, made.planner.wanted())
    assert made.ids.keys("vif") == [] and made.ids.keys("label") == []


METADATA = LinkLocal(name="m", address="169.254.169.254", port=80, target="127.0.0.1")


def service(made: Rig, peer_elsewhere: bool = True) -> tuple[int, Device]:
    """Blue's service namespace is made; its VRF and device."""
    vrf = made.ids.get("VRF", "network/blue")
    assert vrf is not None
    device = Device(77, service_device(vrf), peer_elsewhere=peer_elsewhere, kind="veth")
    made.facts.devices[device.name] = device
    made.planner.replan(made.planner.of_devices([device.name]))
    return vrf, device


def test_a_service_address_leads_to_the_agent_until_its_namespace_is_there() -> None:
    made = rig()
    made.change(BLUE, METADATA)
    vrf = made.ids.give("VRF", "network/blue")
    address, gateway = net("169.254.169.254/32"), net("10.1.1.254/32")
    before = made.planner.wanted()
    assert before.route[vrf, address] == PlannedRoute(NH_AGENT, flags=RouteFlag.ARP_PROXY)
    _, device = service(made)
    after = made.planner.wanted()
    (idx,) = after.vif.keys() - before.vif.keys()
    vif, nexthop = after.vif[idx], after.nexthop[after.route[vrf, address].nh]
    assert (vif.name, vif.ifindex, vif.vrf, vif.peer) == (device.name, 77, vrf, True)
    assert (nexthop.oif, nexthop.rewrite[:6]) == (idx, SERVICE_MAC)
    assert after.route[vrf, gateway] == before.route[vrf, gateway], "the agent's own"
    speaks = {one.prefix for one in after.sources[idx]}
    assert speaks == {None, address, gateway}
    del made.facts.devices[device.name]
    made.planner.replan(made.planner.of_devices([device.name]))
    assert not compare(before, made.planner.wanted())


def test_a_service_gives_way_to_who_has_its_address() -> None:
    made = rig()
    own = StaticRoute(name="t", network="blue", prefix="169.254.169.254/32", next_hop="discard")
    made.change(BLUE, METADATA)
    vrf, _ = service(made)
    made.change(own)
    planned = made.planner.wanted()
    assert planned.route[vrf, net("169.254.169.254/32")].nh == NH_DISCARD
    made.change(gone=(("route", "t"),))
    assert made.planner.wanted().route[vrf, net("169.254.169.254/32")].nh not in (
        NH_DISCARD,
        NH_AGENT,
    )


def test_somebodys_own_device_is_no_service_namespace() -> None:
    made = rig()
    made.change(BLUE, METADATA)
    before = made.planner.wanted()
    service(made, peer_elsewhere=False)
    assert not compare(before, made.planner.wanted())


@pytest.mark.parametrize("name", ["vrsvc", "vrsvc-1", "vrsvcx", "eth0", "vrsvc1x", "vrsvc\u0661"])
def test_names_that_are_no_service_device(name: str) -> None:
    assert service_vrf(name) is None


def test_when_numbers_run_out_nothing_has_changed() -> None:
    made = rig()
    made.ids.space("VRF", 1, 2)
    made.change(BLUE)
    before = made.planner.wanted()
    change = made.state.change([Network(name="red")], (), "api")
    with pytest.raises(Refused, match="numbers for VRFs are in use"):
        made.planner.replan(made.planner.of_change(change))
    assert not compare(before, made.planner.wanted())


@pytest.mark.parametrize("seed", range(8))
def test_changes_one_by_one_come_to_the_same_as_the_whole(seed: int) -> None:
    """Whatever the order of changes: the kept plan is the one that is made anew of the end."""
    chance = random.Random(seed)
    names = [*(f"tap{number}" for number in range(1, 9)), "vgw", "vgwi", "vrsvc1", "vrsvc2"]
    made = rig(*names)
    pool: list[Record] = [
        BLUE,
        msgspec.structs.replace(BLUE, forwarding="l3", mac_learning=True),
        FAR_HOST,
        msgspec.structs.replace(FAR_HOST, encapsulations=("vxlan",)),
        membership(),
        *(interface(number) for number in range(1, 9)),
        *(interface(number, enabled=False) for number in range(1, 5)),
        *(endpoint(number) for number in range(20, 26)),
        StaticRoute(name="r", network="blue", prefix="10.7.0.0/16", next_hop="10.1.1.1"),
        StaticRoute(name="s", network="blue", prefix="10.8.0.0/16", host="h2", label=99),
        StaticRoute(name="t", network="blue", prefix="169.254.169.254/32", next_hop="discard"),
        METADATA,
        msgspec.structs.replace(METADATA, address="169.254.7.7"),
        Network(name="red", subnets=(Subnet(prefix="10.2.1.0/24"),)),
        Gateway(name="g", network="blue", device="vgw", routes=("10.6.0.0/16",)),
    ]
    done = 0
    tables = made.planner.wanted()
    for _ in range(120):
        gone = chance.sample(made.state.keys(), k=min(1, len(made.state.keys())))
        puts, keys = ([chance.choice(pool)], ()) if chance.random() < 0.75 else ([], tuple(gone))
        if chance.random() < 0.2:
            name = chance.choice(names)
            if made.facts.devices.pop(name, None) is None:
                made.facts.devices[name] = Device(
                    chance.randrange(100, 999), name, peer_elsewhere=True, kind="veth"
                )
            _write(tables, made.planner.replan(made.planner.of_devices([name])).diff)
        try:
            diff = made.change(*puts, gone=keys)
        except Rejected:
            continue  # a reference to what is not there, or still needed
        done += 1
        _write(tables, diff)
        assert not compare(tables, made.planner.wanted())
    assert done > 40
    fresh = Rig(
        made.state, made.ids, made.facts, type(made.planner)(made.state, made.ids, made.facts)
    )
    fresh.everything()
    assert not compare(made.planner.wanted(), fresh.planner.wanted())


def _write(tables: Entries, diff: Diff) -> None:
    tables.add(diff.put)
    for name, keys in diff.delete.items():
        for key in keys:
            del getattr(tables, name)[key]


def test_a_fabric_of_both_versions() -> None:
    made = rig()
    fabric = made.facts.fabric
    assert fabric is not None
    own, far = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
    made.facts.fabric = replace(
        fabric,
        addresses=(*fabric.addresses, own),
        local=fabric.local | {own},
        routes=(*fabric.routes, KernelRoute(IPv6Network("2001:db8::/64"), None, by_vhost=True)),
        neighbours={far: FAR_MAC, **fabric.neighbours},
    )
    made.everything()
    assert not any(prefix.version == 6 for _, prefix in made.planner.wanted().route)
    made.change(msgspec.structs.replace(FAR_HOST, address=str(far)))
    planned = made.planner.wanted()
    assert planned.route[0, IPv6Network("2001:db8::1/128")] == PlannedRoute(NH_VHOST)
    tunnels = [one for one in planned.nexthop.values() if one.type == NhType.TUNNEL]
    assert {(one.sip, one.dip, one.rewrite[12:]) for one in tunnels} == {(own, far, b"\x86\xdd")}
    assert all(one.flags & NhFlag.VALID for one in tunnels)


def test_a_neighbours_new_mac_reaches_its_tunnels() -> None:
    made = rig()
    made.change(FAR_HOST)
    fabric = made.facts.fabric
    assert fabric is not None
    other = bytes.fromhex("0200000000ff")
    made.facts.fabric = replace(fabric, neighbours={next(iter(fabric.neighbours)): other})
    diff = made.planner.replan(made.planner.of_fabric()).diff
    assert len(diff.put.nexthop) == 5 and not any(diff.delete.values())
    assert all(one.rewrite.startswith(other) for one in diff.put.nexthop.values())


def test_groups_that_were_joined() -> None:
    """Each has a pair of composites; members here, and the other hosts."""
    made = rig("tap1", "tap2")
    network = msgspec.structs.replace(BLUE, igmp=True)
    made.change(network, FAR_HOST, interface(1), interface(2), membership())
    vifs = [made.ids.get("vif", f"interface/vm{number}") for number in (1, 2)]
    macs = [bytes((1, 0, 0x5E, 1, 1, number)) for number in range(70)]
    assert vifs[0] is not None and vifs[1] is not None
    made.facts.groups = {(vifs[0], 4): frozenset(macs[1:3]), (vifs[1], 4): frozenset(macs[1:2])}
    made.planner.replan([(GROUPS, "blue")])
    assert {mac: members(made, mac) for mac in macs[:4]} == {
        macs[0]: None,
        macs[1]: (["vm1", "vm2"], 1),
        macs[2]: (["vm1"], 1),
        macs[3]: None,
    }
    before = entry_of(made, macs[2])
    made.facts.groups[vifs[1], 4] = frozenset(macs)
    made.planner.replan([(GROUPS, "blue")])
    assert entry_of(made, macs[2]) == before, "who has a pair keeps it"
    assert sum(members(made, mac) is not None for mac in macs) == MOST_GROUPS
    made.change(msgspec.structs.replace(network, igmp=False))
    assert not any(members(made, mac) for mac in macs)


def entry_of(made: Rig, mac: bytes) -> PlannedMac | None:
    vrf = made.ids.get("VRF", "network/blue")
    return made.planner.wanted().bridge.get((vrf or 0, mac))


def members(made: Rig, mac: bytes) -> tuple[list[str], int] | None:
    """Who here gets what is sent to a group, and how many other hosts; None: it has no entry."""
    entry, planned = entry_of(made, mac), made.planner.wanted()
    if entry is None:
        return None
    local, remote = (planned.nexthop[one.nh] for one in planned.nexthop[entry.nh].members)
    owners = [made.ids.owner("nexthop", one.nh) or "" for one in local.members]
    return [one.split("/")[1] for one in owners], len(remote.members)
