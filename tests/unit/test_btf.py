# SPDX-License-Identifier: Apache-2.0
"""Layouts from BTF are those that the compiler uses."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from vrouter.dpcore import loader
from vrouter.dpcore import object as objects
from vrouter.dpcore.btf import Btf
from vrouter.dpcore.errors import VrouterError
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.maps import open_map
from vrouter.dpcore.sizes import SMALL

ABI = Path(__file__).parents[2] / "bpf"
STRUCTS = (
    "vr_vif", "vr_vif_stats", "vr_vif_drops", "vr_agent_hdr", "vr_nexthop", "vr_nh_member",
    "vr_nh_members", "vr_inet_key", "vr_route", "vr_bridge_key", "vr_bridge_entry",
    "vr_vrf_stats", "vr_config", "vr_event", "vr_test_copy",
)  # fmt: skip


@pytest.fixture(scope="module")
def types() -> Btf:
    return Btf.from_object(objects.find(None))


def test_every_offset_and_size_is_the_compilers(types: Btf, tmp_path: Path) -> None:
    compiler = shutil.which("clang-19") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    lines = []
    for name in STRUCTS:
        layout = types.layout(name)
        lines.append(f'_Static_assert(sizeof(struct {name}) == {layout.size}, "{name}");')
        for field, at in layout.fields.items():
            where = f"struct {name}, {field}"
            lines.append(f'_Static_assert(__builtin_offsetof({where}) == {at.offset}, "o");')
            size = f"sizeof(((struct {name} *)0)->{field})"
            lines.append(f'_Static_assert({size} == {at.total}, "{name}.{field}");')
    source = tmp_path / "check.c"
    source.write_text('#include "abi.h"\n' + "\n".join(lines))
    done = subprocess.run(
        [compiler, "-fsyntax-only", f"-I{ABI}", str(source)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_kinds_of_fields(types: Btf) -> None:
    vif = types.layout("vr_vif").fields
    assert vif["ip"].kind == "be"
    assert vif["qos"].kind == "int"
    assert (vif["mac"].kind, vif["mac"].count) == ("bytes", 6)
    assert (vif["name"].kind, vif["name"].count) == ("str", 16)
    members = types.layout("vr_nh_members").fields["member"]
    assert (members.kind, members.count, members.size) == ("struct", 31, 8)
    assert types.layout("vr_vif_drops").fields["count"].count == 96


def test_enums(types: Btf) -> None:
    drops = types.enum("vr_drop_reason")
    assert drops["VR_DROP_DISCARD"] == 1
    assert drops["VR_DROP_INVALID_UNDERLAY_ECMP"] == 54
    assert types.enum("vr_vif_flag")["VIF_FLAG_MAC_IP_LEARN"] == 0x40000000


def test_what_is_not_there_is_said(types: Btf) -> None:
    with pytest.raises(VrouterError, match="no struct vr_nothing"):
        types.layout("vr_nothing")
    with pytest.raises(VrouterError, match="no enum vr_vif"):
        types.enum("vr_vif")


def test_answers_are_cached(types: Btf) -> None:
    assert types.layout("vr_vif") is types.layout("vr_vif")
    assert Btf.from_object(objects.find(None)) is types


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\2" + bytes(100), b"text" * 100])
def test_a_broken_object_is_an_error_of_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.o"
    path.write_bytes(content)
    with pytest.raises(VrouterError) as caught:
        Btf.from_object(path)
    assert "\n" not in str(caught.value)


def test_a_cut_blob_is_an_error() -> None:
    blob = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 64, 64, 4) + bytes(20)
    with pytest.raises(VrouterError):
        Btf(blob, "a test")


def test_the_loaded_map_has_the_same_types(instance: Instance, types: Btf) -> None:
    loader.load(instance, SMALL)
    with open_map(instance.map_path("vif_slots")) as opened:
        loaded = Btf.from_kernel(opened.btf_id)
        assert opened.value_size == loaded.layout("vr_vif").size
    for name in STRUCTS:
        assert loaded.layout(name).fields == types.layout(name).fields or name in (
            "vr_nh_members",
            "vr_bridge_entry",
        )
        assert loaded.layout(name).size == types.layout(name).size
    assert loaded.enum("vr_nh_type") == types.enum("vr_nh_type")
