# SPDX-License-Identifier: Apache-2.0
"""The names of numbers: the same as abi.h, and complete for people."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vrouter.dpcore import labels, names
from vrouter.dpcore.btf import Btf
from vrouter.dpcore.errors import VrouterError
from vrouter.dpcore.names import DropReason, NhFlag, VifFlag, check_names

ROOT = Path(__file__).parents[2]
OBJECT = ROOT / "src" / "vrouter" / "dpcore" / "vrouter.bpf.o"
needs_object = pytest.mark.skipif(not OBJECT.exists(), reason="no object: run `make bpf`")


@needs_object
def test_enums_are_those_of_the_object() -> None:
    check_names(Btf.from_object(OBJECT))


@needs_object
def test_a_difference_is_named() -> None:
    real = Btf.from_object(OBJECT)

    def enum(name: str) -> dict[str, int]:
        values = dict(real.enum(name))
        if name == "vr_nh_type":
            values["NH_TYPE_TUNNEL"] = 99
            del values["NH_TYPE_RESOLVE"]
        return values

    altered: Any = SimpleNamespace(enum=enum)
    with pytest.raises(VrouterError, match=r"NH_TYPE_RESOLVE is absent .*NH_TYPE_TUNNEL is 99"):
        check_names(altered)


@pytest.mark.parametrize(
    ("define", "value"),
    [
        ("VR_ABI_VERSION", names.ABI_VERSION),
        ("VR_MAX_VIFS", names.MAX_VIFS),
        ("VR_SOURCE_BITS", names.SOURCE_BITS),
        ("VR_SRC_MACS", names.SRC_MACS),
        ("VR_SPARES", names.SPARES),
        ("VR_VIF_NONE", names.VIF_NONE),
        ("VR_VRF_NONE", names.VRF_NONE),
        ("VR_LABEL_NONE", names.LABEL_NONE),
        ("VR_VLAN_NONE", names.VLAN_NONE),
        ("VR_NH_DISCARD", names.NH_DISCARD),
        ("VR_ENTRY_VALID", names.ENTRY_VALID),
        ("VR_REWRITE_MAX", names.REWRITE_MAX),
        ("VR_MEMBERS_PER_CHUNK", names.MEMBERS_PER_CHUNK),
        ("VR_AF_INET", names.Family.INET),
        ("VR_AF_BRIDGE", names.Family.BRIDGE),
        ("VR_AF_INET6", names.Family.INET6),
        ("VR_AF_UNSPEC", names.Family.UNSPEC),
    ],
)
def test_constants_are_those_of_abi_h(define: str, value: int) -> None:
    header = "".join(one.read_text() for one in (ROOT / "bpf").glob("abi*.h"))
    found = re.search(rf"#define\s+{define}\s+(\w+?)u?\s", header)
    assert found is not None
    assert int(found[1], 0) == value


def test_every_drop_reason_is_printed_once() -> None:
    printed = [reason for block in labels.DROP_GROUPS for reason, _ in block]
    assert len(printed) == len(set(printed))
    assert set(printed) == set(DropReason) - {DropReason.INVALID}
    texts = list(labels.DROP_LABELS.values())
    assert len(texts) == len(set(texts))


def test_flags_read_as_upstream_prints_them() -> None:
    flags = VifFlag.VHOST_PHYS | VifFlag.L2 | VifFlag.L3 | VifFlag.TX_CSUM | VifFlag.XCONNECT
    assert labels.vif_flag_letters(flags) == "XTcL3L2Vp"
    assert labels.nh_flag_words(NhFlag.TUNNEL_UDP_MPLS | NhFlag.VALID) == "Valid, MPLSoUDP, "
    assert labels.route_flag_letters(0x3) == "LP"
    assert labels.bridge_flag_letters(0x7) == "LDf"
    assert labels.drop_label(64) == "Longer than MTU"
    assert labels.drop_label(95) == "Reason 95"
