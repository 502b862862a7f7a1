# SPDX-License-Identifier: Apache-2.0
"""A dp-core of another release: that of bpf/, with other layouts of its tables.

Fields come first, in between and last, change places and grow; counters too.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.system.compile import ROOT, compile_bpf

# what is replaced in abi.h or a part of it, once: a pattern, and what takes its place
CHANGES = (
    # fields before, between and behind the others
    (r"(struct vr_vif \{\n)", r"\1\t__u32 tenant;\n"),
    (r"(\t__u32 flags;[^\n]*vr_vif_flag[^\n]*\n)(\t__u32 nh_id;[^\n]*\n)", r"\2\t__u64 since;\n\1"),
    (r"(\tchar name\[16\];\n)", r"\1\t__u8 colour[5];\n"),
    # a number that grows, one with a sign too
    (r"\t__u16 vrf;\n\t__u16 mcast_vrf;", "\t__u32 vrf;\n\t__u16 mcast_vrf;"),
    (r"\t__s16 qos;", "\t__s32 qos;"),
    (r"(struct vr_nexthop \{\n)", r"\1\t__u64 since;\n"),
    (r"(\t__u32 member_count;\n)(\t__be32 sip;[^\n]*\n)", r"\2\t__u32 weight;\n\1"),
    (r"(struct vr_nh_member \{\n)", r"\1\t__u32 weight;\n"),
    (r"(struct vr_route \{\n)", r"\1\t__u32 metric;\n"),
    (r"(struct vr_bridge_entry \{\n)", r"\1\t__u64 learnt;\n"),
    (r"(\t__u32 spare_vifs;)", r"\t__u32 ageing;\n\1"),
    # counters: before the others, in between, and more reasons
    (r"(struct vr_vif_stats \{\n)", r"\1\t__u64 polled;\n"),
    (r"(\t__u64 receives;\n)", r"\1\t__u64 mirrors;\n"),
    (r"VR_DROP_MAX = 96", "VR_DROP_MAX = 128"),
)
DEFAULT_AGEING = 300


def abi_of(text: str) -> int:
    """VR_ABI_VERSION of an abi.h."""
    found = re.search(r"#define VR_ABI_VERSION\s+(\d+)", text)
    assert found
    return int(found[1])


def sources(folder: Path) -> Path:
    """A copy of bpf/ in `folder`."""
    shutil.copytree(ROOT / "bpf", folder / "bpf")
    return folder / "bpf"


def replace_in(path: Path, pattern: str, text: str) -> None:
    """Replace what must be there once."""
    changed, count = re.subn(pattern, text, path.read_text())
    assert count == 1, f"{pattern} is {count} times in {path}"
    path.write_text(changed)


def build_next(folder: Path) -> Path:
    """The object of the next release."""
    bpf = sources(folder)
    abi = bpf / "abi.h"
    version = abi_of(abi.read_text())
    replace_in(abi, r"(#define VR_ABI_VERSION\s+)\d+", rf"\g<1>{version + 1}")
    for pattern, text in CHANGES:
        parts = [one for one in bpf.glob("abi*.h") if re.search(pattern, one.read_text())]
        assert len(parts) == 1, f"{pattern} is in {parts}"
        replace_in(parts[0], pattern, text)
    # what a dp-core tells itself, and whoever listens
    replace_in(bpf / "abi_events.h", r"(struct vr_event \{\n)", r"\1\t__u64 serial;\n")
    replace_in(
        bpf / "packet.h",
        r"(\t\.agent_vif = VR_VIF_NONE,\n)",
        rf"\1\t.ageing = {DEFAULT_AGEING},\n",
    )
    replace_in(bpf / "again.h", r"(struct vr_again \{\n)", r"\1\t__u64 since;\n")
    return compile_bpf(bpf / "vrouter.bpf.c", folder / "next.bpf.o", bpf)
