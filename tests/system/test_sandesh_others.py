# SPDX-License-Identifier: Apache-2.0
"""Labels, mirrors, QoS, VRFs and the vRouter as a whole, through the door."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.doors import DoorHost, add_vif, door_host, encap, refused
from tests.unit import sandesh_by_hand as by_hand
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.names import DropReason
from vrouter.sandesh import ADD, DEL, DUMP, GET, RESET, Client, Malformed, SandeshError
from vrouter.sandesh.requests.drops import FIRST_OF_OURS, OURS, field_of
from vrouter.sandesh.schema import schemas

MAC = bytes.fromhex("02000a010101")


@pytest.fixture(scope="module")
def host() -> Iterator[DoorHost]:
    with door_host() as made:
        made.start()
        yield made


@pytest.fixture
def client(host: DoorHost) -> Iterator[Client]:
    with host.client() as made:
        made.request("vrouter_ops", RESET)
        yield made


@pytest.fixture
def core(host: DoorHost) -> Iterator[DpCore]:
    with host.core() as opened:
        yield opened


# ---- labels, mirrors, QoS, VRFs -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key", "nh"),
    [("vr_mpls_req", "mr_label", "mr_nhid"), ("vr_vxlan_req", "vxlanr_vnid", "vxlanr_nhid")],
)
def test_labels_and_vnis(client: Client, name: str, key: str, nh: str) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    for label in range(20, 220):
        client.request(name, ADD, **{key: label, nh: 10})
    assert getattr(client.get(name, **{key: 30}), nh) == 10
    assert [getattr(one, key) for one in client.dump(name)] == list(range(20, 220))
    client.request(name, DEL, **{key: 30})
    client.request(name, DEL, **{key: 30})  # gone is gone
    assert refused(client, name, GET, **{key: 30}) == errno.ENOENT
    assert refused(client, name, ADD, **{key: 31, nh: 99}) == errno.EINVAL
    assert refused(client, name, ADD, **{key: 1 << 25, nh: 10}) == errno.EINVAL


def test_a_dump_in_parts_for_a_client_of_upstreams(host: DoorHost, client: Client) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    for label in range(20, 520):
        client.request("vr_mpls_req", ADD, mr_label=label, mr_nhid=10)
    payload = by_hand.message("vr_mpls_req", {"h_op": DUMP, "mr_marker": -1})
    with host.client(as_upstream=True) as other:
        other.send_raw(by_hand.frame(payload, 9, port=77))
        code, objects = other.receive()
        assert (code.flags, objects.flags) == (2, 0)
        assert {one.sequence for one in (code, objects)} == {9}
        assert {one.port for one in (code, objects)} == {77}
        assert len(objects.payload) <= 3968
        count = struct.unpack_from(">i", code.payload, 25)[0]
        assert count & 1 << 30 and 10 < count & 0xFFFF < 500
        assert [one.mr_label for one in other.dump("vr_mpls_req")] == list(range(20, 520))


def test_mirrors(client: Client, core: DpCore) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    client.request("vr_mirror_req", ADD, mirr_index=3, mirr_nhid=10, mirr_flags=1, mirr_vni=-1)
    client.request("vr_mirror_req", ADD, mirr_index=4, mirr_nhid=10, mirr_vni=7000)
    mirror = core.mirrors.get(3)
    assert mirror is not None and mirror.dynamic and mirror.metadata == b"\xff\0"
    add_vif(client, 7, "tap7", vifr_flags=0x58, vifr_mir_id=3)
    got = client.get("vr_interface_req", vifr_idx=7)
    assert (got.vifr_mir_id, got.vifr_in_mirror_md) == (3, b"\xff\0")
    client.request("vr_interface_req", **{**got.fields, "h_op": ADD})
    add: dict[str, Any] = {"vifr_mir_id": 3, "vifr_in_mirror_md": b"\x01\x02", "vifr_flags": 0x48}
    with pytest.raises(SandeshError):
        add_vif(client, 7, "tap7", **add)
    found = list(client.dump("vr_mirror_req"))
    assert [(one.mirr_index, one.mirr_flags, one.mirr_vni) for one in found] == [
        (3, 1, -1),
        (4, 0, 7000),
    ]
    assert found[0].mirr_users == 2
    client.request("vr_mirror_req", DEL, mirr_index=4)
    assert refused(client, "vr_mirror_req", DEL, mirr_index=4) == errno.ENOENT
    assert refused(client, "vr_mirror_req", ADD, mirr_index=5, mirr_nhid=99) == errno.EINVAL
    assert (
        refused(client, "vr_mirror_req", ADD, mirr_index=5, mirr_nhid=10, mirr_flags=4)
        == errno.EOPNOTSUPP
    )


def test_qos(client: Client, core: DpCore) -> None:
    client.request(
        "vr_fc_map_req",
        ADD,
        fmr_id=(1, 200),
        fmr_dscp=b"\x0a\x2e",
        fmr_mpls_qos=b"\1\2",
        fmr_dotonep=b"\3\4",
        fmr_queue_id=b"\5\xff",
    )
    assert [one.id for one in core.qos.class_items()] == [1, 200]
    got = client.get("vr_fc_map_req", fmr_id=(200,))
    assert (got.fmr_dscp, got.fmr_queue_id) == (b"\x2e", b"\xff")
    assert [one.fmr_id for one in client.dump("vr_fc_map_req")] == [(1,), (200,)]
    wrong = {"fmr_id": (2, 3), "fmr_dscp": b"\1\x40", "fmr_mpls_qos": b"\1\1"}
    wrong |= {"fmr_dotonep": b"\1\1", "fmr_queue_id": b"\1\1"}
    assert refused(client, "vr_fc_map_req", ADD, **wrong) == errno.EINVAL
    assert [one.id for one in core.qos.class_items()] == [1, 200]
    client.request("vr_qos_map_req", ADD, qmr_id=5, qmr_dscp=b"\x0a", qmr_dscp_fc_id=b"\xc8")
    client.request("vr_qos_map_req", ADD, qmr_id=5, qmr_dotonep=b"\7", qmr_dotonep_fc_id=b"\1")
    stored = core.qos.get(5)
    assert stored is not None and (stored.dscp[10], stored.dot1p[7]) == (200, 1)
    one = client.get("vr_qos_map_req", qmr_id=5)
    assert (len(one.qmr_dscp), one.qmr_dscp_fc_id[10], one.qmr_dotonep_fc_id[7]) == (64, 200, 1)
    assert [one.qmr_id for one in client.dump("vr_qos_map_req")] == [5]
    bad = {"qmr_id": 5, "qmr_dscp": b"\1\2", "qmr_dscp_fc_id": b"\1"}
    assert refused(client, "vr_qos_map_req", ADD, **bad) == errno.EINVAL
    client.request("vr_qos_map_req", DEL, qmr_id=5)
    client.request("vr_fc_map_req", DEL, fmr_id=(1,))
    assert refused(client, "vr_qos_map_req", GET, qmr_id=5) == errno.ENOENT
    assert refused(client, "vr_fc_map_req", GET, fmr_id=(1,)) == errno.ENOENT


def test_vrfs(host: DoorHost, client: Client) -> None:
    client.request("vr_vrf_req", ADD, vrf_idx=3, vrf_flags=1)
    client.request(
        "vr_vrf_req", ADD, vrf_idx=5, vrf_flags=7, vrf_hbfl_vif_idx=-1, vrf_hbfr_vif_idx=-1
    )
    assert [one.vrf_idx for one in client.dump("vr_vrf_req")] == [3, 5]
    assert client.get("vr_vrf_req", vrf_idx=5).vrf_flags == 1
    hbs = {"vrf_idx": 6, "vrf_flags": 3, "vrf_hbfl_vif_idx": 7}
    assert refused(client, "vr_vrf_req", ADD, **hbs) == errno.EOPNOTSUPP
    assert refused(client, "vr_vrf_req", ADD, vrf_idx=64) == errno.EINVAL
    client.request("vr_vrf_req", DEL, vrf_idx=3)
    assert refused(client, "vr_vrf_req", DEL, vrf_idx=3) == errno.EINVAL
    assert refused(client, "vr_vrf_req", GET, vrf_idx=3) == errno.ENOENT


def test_what_the_data_plane_lacks_is_refused(client: Client) -> None:
    add_vif(client, 7, "tap7")
    for name in ("vr_flow_req", "vr_flow_table_data", "vr_bridge_table_data", "vr_hugepage_config"):
        for op in (0, 1, 2):
            assert refused(client, name, op) == errno.EOPNOTSUPP
    assign = {"var_vif_index": 7, "var_vlan_id": 5, "var_vif_vrf": 2}
    assert refused(client, "vr_vrf_assign_req", ADD, **assign) == errno.EOPNOTSUPP
    assert refused(client, "vr_vrf_assign_req", GET, **assign) == errno.ENOENT
    assert list(client.dump("vr_vrf_assign_req", var_vif_index=7)) == []
    assert refused(client, "vr_mpls_req", RESET) == errno.EOPNOTSUPP
    assert refused(client, "vr_mpls_req", 77) == errno.EOPNOTSUPP
    assert refused(client, "vr_response", 0) == errno.EINVAL
    assert refused(client, "vr_pkt_drop_log_req", ADD, vdl_pkt_droplog_en=1) == errno.EOPNOTSUPP
    assert client.get("vr_pkt_drop_log_req").vdl_pkt_droplog_en == 0


def test_the_vrouter_as_a_whole(client: Client, core: DpCore) -> None:
    ops = client.get("vrouter_ops")
    assert (ops.vo_interfaces, ops.vo_mpls_labels, ops.vo_vrfs) == (4352, 2048, 64)
    assert ops.vo_nexthops == core.nexthops.size
    assert "build-version" in ops.vo_build_info
    client.request("vrouter_ops", **{**ops.fields, "h_op": ADD})
    client.request("vrouter_ops", ADD, vo_perfr=-1, vo_mudp=-1, vo_log_level=0)
    for field in ("vo_perfr", "vo_log_level", "vo_priority_tagging", "vo_from_vm_mss_adj"):
        assert refused(client, "vrouter_ops", ADD, **{field: 1}) == errno.EOPNOTSUPP
    memory = client.get("vr_mem_stats_req")
    parts = [value for name, value in memory.fields.items() if name.endswith("_object")]
    assert memory.vms_alloced == sum(parts) > 1 << 20
    assert b"vRouter version" in client.get("vr_info_req").vdu_proc_info
    (info,) = client.dump("vr_info_req")
    assert info == client.get("vr_info_req")


def test_every_drop_reason_has_a_field() -> None:
    known = schemas()["vr_drop_stats_req"].defaults
    fields = [field_of(reason) for reason in DropReason if 0 < reason < FIRST_OF_OURS]
    assert len(set(fields)) == len(fields) == 54
    assert set(fields) <= set(known)
    assert {field_of(reason) for reason in range(64, 96)} == {OURS}
    # nothing of upstream's is counted there (docs/explanation/differences.md)
    assert field_of(DropReason.MISC) == OURS


def test_several_requests_in_a_frame(host: DoorHost, client: Client, core: DpCore) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    labels = [
        by_hand.message("vr_mpls_req", {"h_op": ADD, "mr_label": label, "mr_nhid": nh})
        for label, nh in ((50, 10), (51, 99), (52, 10))
    ]
    with host.client(as_upstream=True) as other:
        other.send_raw(by_hand.frame(b"".join(labels) + bytes(3), 4))
        answers = other.receive()
        codes = [struct.unpack_from(">i", one.payload, 25)[0] for one in answers]
        assert codes == [0, -errno.EINVAL, 0]
        assert [one.flags for one in answers] == [2, 2, 0]
        assert list(core.mpls.items()) == [(50, 10), (52, 10)]
        # one that is malformed: nothing of its frame is done
        other.send_raw(by_hand.frame(labels[0][:-1].replace(b"\0\0\0\x32", b"\0\0\0\x40"), 5))
        (answer,) = other.receive()
        assert struct.unpack_from(">i", answer.payload, 25)[0] == -errno.EINVAL
        assert len(answer.payload) == 30
    assert list(core.mpls.items()) == [(50, 10), (52, 10)]


def test_many_requests_without_waiting_for_each(client: Client, core: DpCore) -> None:
    add_vif(client, 7, "tap7")
    encap(client, 10, 7)
    rows = [
        {"mr_label": 16 + place, "mr_nhid": 99 if place in (3, 300) else 10} for place in range(400)
    ]
    failed = client.many("vr_mpls_req", ADD, rows)
    assert {place: error.errno for place, error in failed.items()} == dict.fromkeys(
        (3, 300), errno.EINVAL
    )
    assert "no nexthop 99" in failed[3].reason
    assert len(list(core.mpls.items())) == 398
    assert client.get("vr_mpls_req", mr_label=20).mr_nhid == 10
    with pytest.raises(Malformed):
        client.request("vr_mpls_req", ADD, mr_labels=5)


def test_a_frame_cannot_ask_for_everything(host: DoorHost, client: Client) -> None:
    name = b"vr_interface_req"
    dump = struct.pack(">I", len(name)) + name + struct.pack(">Bhi", 8, 1, DUMP) + b"\0"
    with host.client() as other:
        other.send_raw(by_hand.frame(dump * 100, 1, version=1))
        answers = other.receive()
        assert len(answers) == 200
        assert all(len(one.payload) <= 3968 for one in answers)
        shortest = struct.pack(">I", 11) + b"vr_mpls_req" + b"\0"
        other.send_raw(by_hand.frame(shortest * 1025, 2))
        (answer,) = other.receive()
        assert struct.unpack_from(">i", answer.payload, 25)[0] == -errno.EINVAL
