# SPDX-License-Identifier: Apache-2.0
"""Text and JSON of `dropstats` and `vrfstats`, in upstream's layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vrouter.dpcore.labels import DROP_GROUPS, DROP_LABELS, drop_label
from vrouter.dpcore.names import DropReason
from vrouter.tools.words import VRF_STATS_LINES

if TYPE_CHECKING:
    from vrouter.dpcore.records import VrfStats

LABEL_WIDTH = 30


def drop_line(label: str, count: int) -> str:
    """One counter: the label padded to column 30."""
    return f"{label:<{LABEL_WIDTH}}{count}"


def drop_lines(drops: Mapping[int, int], devices: Mapping[str, int]) -> Iterator[str]:
    """All counters in groups with a blank line between them, Cloned Original by itself.

    devices: what netdevices refused after dp-core's verdict, added to IF TX Discard with their
    names.
    """
    refused = {name: count for name, count in devices.items() if count}
    for position, group in enumerate(DROP_GROUPS):
        if position:
            yield ""
        for reason, label in group:
            if reason == DropReason.INTERFACE_TX_DISCARD and refused:
                yield _refused_line(label, drops.get(reason, 0), refused)
            else:
                yield drop_line(label, drops.get(reason, 0))
    unknown = [number for number in _unlabelled(drops) if drops[number]]
    if unknown:
        yield ""
    for number in unknown:
        yield drop_line(drop_label(number), drops[number])


def _refused_line(label: str, count: int, refused: Mapping[str, int]) -> str:
    total = count + sum(refused.values())
    named = ", ".join(f"{name} {refused[name]}" for name in sorted(refused))
    return f"{drop_line(label, total)} (by the devices: {named})"


def _unlabelled(drops: Mapping[int, int]) -> list[int]:
    """Reasons of a newer dp-core than this package."""
    return [reason for reason in sorted(drops) if reason not in DROP_LABELS]


def cloned_line(drops: Mapping[int, int]) -> str:
    """The counter of originals whose copies went on: no loss."""
    reason = DropReason.CLONED_ORIGINAL
    return drop_line(drop_label(reason), drops.get(reason, 0))


def drop_json(drops: Mapping[int, int]) -> list[dict[str, int | str]]:
    """Every reason with its number, name, label and count, by number."""
    known: list[dict[str, int | str]] = [
        {
            "reason": int(reason),
            "name": reason.name,
            "label": DROP_LABELS[reason],
            "packets": drops.get(reason, 0),
        }
        for reason in sorted(DROP_LABELS)
    ]
    unknown: list[dict[str, int | str]] = [
        {"reason": reason, "name": "", "label": drop_label(reason), "packets": drops[reason]}
        for reason in _unlabelled(drops)
        if drops[reason]
    ]
    return [*known, *unknown]


def vrf_lines(vrf: int, stats: VrfStats) -> Iterator[str]:
    """The counters of one VRF, without the blank line that ends it."""
    yield f"Vrf: {vrf}"
    for line in VRF_STATS_LINES:
        yield ", ".join(f"{label} {getattr(stats, name)}" for name, label in line)


def vrf_json(vrf: int, stats: VrfStats) -> dict[str, int]:
    """The counters of one VRF by the names of `struct vr_vrf_stats`."""
    names = [name for line in VRF_STATS_LINES for name, _ in line]
    return {"vrf": vrf, **{name: getattr(stats, name) for name in names}}
