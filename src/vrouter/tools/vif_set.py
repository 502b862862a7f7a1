# SPDX-License-Identifier: Apache-2.0
"""`vif --set`: change what is stored of a vif."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from vrouter.dpcore.errors import UsageError
from vrouter.dpcore.labels import vif_flag_letters
from vrouter.dpcore.names import VifFeature, VifFlag
from vrouter.tools.argtypes import ALLOW_ANY, ALLOW_NONE
from vrouter.tools.common import counted, open_core, report
from vrouter.tools.render_vif import ROLES, role_words
from vrouter.tools.vif_show import find_vif

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.records import Source, Vif

FIELDS = (
    *("vrf", "vlan", "ovlan", "src_mac", "flags", "policy", "dhcp_enable", "allow", "trust"),
    *("mirror", "mirror_direction", "qos"),
)


def set_fields(args: argparse.Namespace) -> None:
    """`vif --set VIF` with at least one field; one line says what changed."""
    if all(getattr(args, name) is None or getattr(args, name) is False for name in FIELDS):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in FIELDS)
        raise UsageError(f"--set needs a field to change: {options}; see vif --help")
    sources = None if args.allow is None else _sources(args.allow)
    with open_core(args) as core, core.instance.enter_netns(), core.lock():
        vif = find_vif(core, args.set)
        done = _change(core, vif, args)
        if args.allow is not None and core.vifs.set_sources(vif.idx, sources):
            done.append(_allowed(sources))
    name = f"vif0/{vif.idx} ({vif.name})"
    if not done:
        report(args, f"{name} is so already; nothing changed", changed=False)
        return
    report(args, f"changed {name}: {', '.join(done)}", changed=True)


def _change(core: DpCore, vif: Vif, args: argparse.Namespace) -> list[str]:
    """Writes the fields of the vif itself; what became of each that is new."""
    done = []
    wanted = vif
    if args.vrf is not None and args.vrf != vif.vrf:
        wanted = replace(wanted, vrf=args.vrf)
        done.append(f"VRF {vif.vrf} to {args.vrf}")
    for field in ("vlan", "ovlan"):
        value = getattr(args, field)
        if value is not None and value != getattr(vif, field):
            wanted = replace(wanted, **{field: value})
            done.append(f"{field} {getattr(vif, field)} to {value}")
    if args.src_mac is not None and tuple(args.src_mac) != vif.src_macs:
        wanted = replace(wanted, src_macs=tuple(args.src_mac))
        done.append(counted(len(args.src_mac), "sender", "senders"))
    flags = _flags(vif.flags, args)
    if flags != vif.flags:
        done.append(f"flags {vif_flag_letters(vif.flags)} to {vif_flag_letters(flags)}")
        wanted = replace(wanted, flags=flags)
    if args.qos is not None and args.qos != vif.qos:
        wanted = replace(wanted, qos=args.qos)
        done.append(f"QoS map {_map_word(vif.qos)} to {_map_word(args.qos)}")
    mirrored = _mirrored(wanted, args)
    if mirrored != wanted:
        done.append(f"mirror {_copied(vif)} to {_copied(mirrored)}")
        wanted = mirrored
    if args.trust is not None:
        mask = VifFeature(sum(bit for bit, _ in ROLES))
        wanted = replace(wanted, features=vif.features & ~mask | args.trust)
        if wanted.features != vif.features:
            done.append(f"trusted as {' and '.join(role_words(args.trust)) or 'nothing'}")
    if wanted != vif:
        core.vifs.change(wanted)
    return done


def _mirrored(vif: Vif, args: argparse.Namespace) -> Vif:
    """The vif with the mirror that the options give it."""
    if args.mirror is None and args.mirror_direction is None:
        return vif
    direction = args.mirror_direction or "both"
    number = vif.mirror if args.mirror is None else args.mirror
    if number is None and direction != "none":
        raise UsageError("--mirror-direction needs a mirror; add --mirror N")
    flags = vif.flags & ~(VifFlag.MIRROR_RX | VifFlag.MIRROR_TX)
    if direction in ("rx", "both"):
        flags |= VifFlag.MIRROR_RX
    if direction in ("tx", "both"):
        flags |= VifFlag.MIRROR_TX
    return replace(vif, flags=flags, mirror=None if direction == "none" else number)


def _copied(vif: Vif) -> str:
    """Which mirror, and what it gets."""
    on = [("rx", VifFlag.MIRROR_RX), ("tx", VifFlag.MIRROR_TX)]
    words = [word for word, flag in on if vif.flags & flag]
    return " ".join((str(vif.mirror), *words)) if words else "none"


def _map_word(qos: int) -> str:
    return "none" if qos < 0 else str(qos)


def _flags(old: VifFlag, args: argparse.Namespace) -> VifFlag:
    on, off = args.flags or (VifFlag(0), VifFlag(0))
    if args.policy:
        on |= VifFlag.POLICY
    if args.dhcp_enable:
        on |= VifFlag.DHCP
    return old & ~off | on


def _sources(allowed: list[Source | str]) -> list[Source] | None:
    words = [one for one in allowed if isinstance(one, str)]
    if words and len(allowed) > 1:
        raise UsageError(f"--allow {words[0]} stands alone; leave the others out")
    if words:
        return [] if words[0] == ALLOW_NONE else None
    return [one for one in allowed if not isinstance(one, str)]


def _allowed(sources: list[Source] | None) -> str:
    if sources is None:
        return f"allowed {ALLOW_ANY}: who speaks is not checked"
    if not sources:
        return f"allowed {ALLOW_NONE}: nothing may speak"
    return f"allowed {counted(len(sources), 'pair', 'pairs')} of MAC and prefix"
