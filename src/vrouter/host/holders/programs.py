# SPDX-License-Identifier: Apache-2.0
"""Foreign tc and XDP programs on the NIC. Numbers: linux/pkt_sched.h, linux/rtnetlink.h."""

from __future__ import annotations

import struct

from vrouter.dpcore import programs
from vrouter.dpcore.libbpf import TCX_INGRESS
from vrouter.dpcore.programs import TCX_EGRESS, Program
from vrouter.host import rtnl
from vrouter.host.holders.finding import Finding
from vrouter.host.netlink import Link

_TCMSG = struct.Struct("=BxxxiIII")  # family, ifindex, handle, parent, info
_TCA_KIND, _TCA_OPTIONS, _TCA_BPF_NAME = 1, 2, 7
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # clsact's; the classic ingress qdisc is ffff:
_CLASSIC = 0xFFFF0000


def find(nic: Link, ours: frozenset[str]) -> list[Finding]:
    """What hangs on the NIC; `ours`: names of dp-core's own programs."""
    found = []
    for one in nic.xdp:
        text = f"XDP program {_named(programs.by_id(one))} on {nic.name}"
        found.append(Finding("program", text, "it stays and goes on seeing packets first", False))
    for where, kind in (("ingress", TCX_INGRESS), ("egress", TCX_EGRESS)):
        for program in programs.tcx(nic.ifindex, kind):
            if program.name not in ours:
                text = f"tcx {where} program {_named(program)} on {nic.name}"
                found.append(Finding("program", text, _FATES[where], False))
    for where, parent in (("ingress", _INGRESS), ("ingress", _CLASSIC), ("egress", _EGRESS)):
        for name in _filters(nic.ifindex, parent):
            blocks = where == "ingress"
            text = f"tc {where} filter {name} on {nic.name}"
            found.append(Finding("program", text, _FATES["tc " + where], blocks))
    return list(dict.fromkeys(found))


_FATES = {
    "ingress": "it stays, before dp-core, which is attached behind it",
    "egress": "it stays and sees what dp-core sends",
    "tc ingress": "dp-core comes first and it would see no packets: put it on vhost0",
    "tc egress": "it stays and sees what dp-core sends",
}


def _named(program: Program) -> str:
    return f"{program.name or 'without a name'} (id {program.id})"


def _filters(ifindex: int, parent: int) -> list[str]:
    with rtnl.RtSocket() as rt:
        try:
            bodies = rt.dump(rtnl.RTM_GETTFILTER, _TCMSG.pack(0, ifindex, 0, parent, 0))
        except OSError:  # no such qdisc, or a kernel without tc filters
            return []
    names = {}
    for body in bodies:
        _, index, handle, at, info = _TCMSG.unpack_from(body)
        if index != ifindex or at != parent or not handle:
            continue
        attrs = rtnl.parse_attrs(body[_TCMSG.size :])
        kind = (rtnl.attr(attrs, _TCA_KIND) or b"?").rstrip(b"\0").decode()
        options = rtnl.parse_attrs(rtnl.attr(attrs, _TCA_OPTIONS) or b"")
        own = rtnl.attr(options, _TCA_BPF_NAME) if kind == "bpf" else None
        label = f"{kind} pref {info >> 16}"
        if own is not None:
            label += " " + own.rstrip(b"\0").decode()
        names[info >> 16, handle] = label
    return list(names.values())
