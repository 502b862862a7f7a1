# SPDX-License-Identifier: Apache-2.0
"""RESET: everything goes; a NIC and its vhost0 stay joined until they are added again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.system import vhosts
from tests.system.doors import GATEWAY_MAC, DoorHost, add_vif, door_host
from tests.system.pings import pinging
from vrouter.dpcore.names import VifType
from vrouter.sandesh import ADD, DEL, RESET, Client


@pytest.fixture(scope="module")
def host() -> Iterator[DoorHost]:
    with door_host() as made:
        made.start()
        yield made


def test_everything_goes_but_stats_vifs(host: DoorHost) -> None:
    with host.client() as client:
        add_vif(client, 1, "tap1")
        add_vif(client, 2, "pkt0", 1, vifr_vrf=0xFFFF)
        add_vif(client, 3, "tap1.7", 6, vifr_parent_vif_idx=1, vifr_vlan_id=7, vifr_ovlan_id=7)
        encap = {"nhr_type": 2, "nhr_family": 7, "nhr_flags": 1, "nhr_encap_oif_id": (1,)}
        client.request("vr_nexthop_req", ADD, nhr_id=9, **encap)
        for number in range(300):
            prefix = bytes((10, number >> 8, number & 255, 0))
            route = {"rtr_vrf_id": 1, "rtr_family": 2, "rtr_prefix": prefix, "rtr_prefix_len": 24}
            client.request("vr_route_req", ADD, **route, rtr_nh_id=9)
            mac = bytes((2, 0, 0, 0, number >> 8, number & 255))
            client.request(
                "vr_route_req", ADD, rtr_vrf_id=1, rtr_family=7, rtr_mac=mac, rtr_nh_id=9
            )
        six = {"rtr_family": 10, "rtr_prefix": b"\xfd" + bytes(15), "rtr_prefix_len": 8}
        client.request("vr_route_req", ADD, rtr_vrf_id=2, rtr_nh_id=9, **six)
        client.request("vr_mpls_req", ADD, mr_label=100, mr_nhid=9)
        client.request("vr_vxlan_req", ADD, vxlanr_vnid=100, vxlanr_nhid=9)
        client.request("vr_mirror_req", ADD, mirr_index=1, mirr_nhid=9, mirr_vni=-1)
        client.request("vr_qos_map_req", ADD, qmr_id=1, qmr_dscp=b"\1", qmr_dscp_fc_id=b"\1")
        one = {
            "fmr_dscp": b"\1",
            "fmr_mpls_qos": b"\1",
            "fmr_dotonep": b"\1",
            "fmr_queue_id": b"\1",
        }
        client.request("vr_fc_map_req", ADD, fmr_id=(1,), **one)
        client.request("vr_vrf_req", ADD, vrf_idx=1, vrf_flags=1)
        client.request("vrouter_ops", RESET)
        assert [vif.vifr_idx for vif in client.dump("vr_interface_req")] == [4350, 4351]
        assert [nh.nhr_id for nh in client.dump("vr_nexthop_req")] == [0]
        for name in ("vr_mpls_req", "vr_vxlan_req", "vr_mirror_req", "vr_qos_map_req"):
            assert list(client.dump(name)) == []
        for name in ("vr_fc_map_req", "vr_vrf_req", "vr_vrf_stats_req"):
            assert list(client.dump(name)) == []
        for vrf, family in ((1, 2), (1, 7), (2, 10)):
            assert list(client.dump("vr_route_req", rtr_vrf_id=vrf, rtr_family=family)) == []
        assert not any(value for value in _drops(client))
    assert host.devices(host.near) & {"tap1", "pkt0"} == set()
    assert host.devices(host.far) & {"tap1", "pkt0"} == set()
    with host.core() as core:
        assert core.config.get().agent_vif is None
        assert not core.vifs.end_bypass()


def _drops(client: Client) -> list[int]:
    fields = client.get("vr_drop_stats_req").fields
    return [value for name, value in fields.items() if name.startswith("vds_")]


# ---- the host's traffic -------------------------------------------------------------------


def _add_back(client: Client, agent: bool) -> None:
    """What a controller adds after its RESET: the NIC, vhost0, and its own vif."""
    add_vif(
        client, 0, "nic", 2, vifr_transport=1, vifr_vrf=0, vifr_flags=0x2C0, vifr_mac=vhosts.NIC_MAC
    )
    time.sleep(0.2)
    add_vif(
        client,
        1,
        "vhost0",
        0,
        vifr_transport=1,
        vifr_vrf=0,
        vifr_mac=vhosts.NIC_MAC,
        vifr_cross_connect_idx=(0,),
    )
    if agent:
        time.sleep(0.2)
        add_vif(client, 2, "pkt0", 1, vifr_vrf=0xFFFF)


@pytest.mark.parametrize("family", ["4", "6"])
def test_the_hosts_traffic_goes_on(host: DoorHost, family: str) -> None:
    if host.process is None:
        host.start()
    machine = vhosts.Host(host.near, host.far)
    machine.instance = host.instance
    address = "10.0.0.1" if family == "4" else "fd00::1"
    with machine.wired():
        machine.up()
        try:
            with host.client() as client, pinging(host.far, address) as pings:
                for _ in range(3):
                    client.request("vrouter_ops", RESET)
                    idxs = [vif.vifr_idx for vif in client.dump("vr_interface_req")]
                    assert idxs == [4350, 4351]
                    time.sleep(0.3)
                    _add_back(client, agent=False)
                    time.sleep(0.2)
            assert pings.sent == pings.answered and pings.sent > 100, pings
            with host.client() as client:
                vifs = {vif.vifr_name: vif for vif in client.dump("vr_interface_req")}
                assert {"nic", "vhost0"} <= set(vifs)
                assert vifs["vhost0"].vifr_cross_connect_idx == (0,)
                assert vifs["nic"].vifr_flags & 2 and vifs["vhost0"].vifr_flags & 2
                before = vifs["vhost0"].vifr_ipackets
                assert machine.reaches()
                assert client.get("vr_interface_req", vifr_idx=1).vifr_ipackets > before
                # asked twice, and part of it added by hand
                client.request("vrouter_ops", RESET)
                client.request("vrouter_ops", RESET)
                assert machine.reaches()
        finally:
            machine.down()
            host.stop()  # else the NIC's end takes it for a process that the test left
        with host.core() as core:
            assert not core.vifs.end_bypass()
            assert [vif.type for vif in core.vifs.items()] == [VifType.STATS] * 2
        assert machine.reaches()


def test_a_nic_alone_is_no_pair(host: DoorHost) -> None:
    """What was not joined before is not joined by a reset."""
    if host.process is None:
        host.start()
    with host.client() as client:
        add_vif(client, 0, "fab0", 2, vifr_vrf=0)
        client.request("vrouter_ops", RESET)
        add_vif(client, 3, "fab0", 2, vifr_vrf=0, vifr_mac=GATEWAY_MAC)
        client.request("vr_interface_req", DEL, vifr_idx=3)
    with host.core() as core:
        assert not core.vifs.end_bypass()
