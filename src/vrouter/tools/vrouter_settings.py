# SPDX-License-Identifier: Apache-2.0
"""The settings of a dp-core that runs: `vrouter --icmp-errors` and its like."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from enum import IntEnum, IntFlag

from vrouter.dpcore.names import IcmpErrors, MssClamp
from vrouter.tools import argtypes
from vrouter.tools.common import ToolParser, open_core, report

ICMP_ERRORS = {one.name.lower(): one for one in IcmpErrors}
MSS_CLAMP = {
    "both": MssClamp.FROM_VM | MssClamp.TO_VM,
    "from-vm": MssClamp.FROM_VM,
    "to-vm": MssClamp.TO_VM,
    "off": MssClamp(0),
}
WORDS: dict[str, Mapping[str, IntEnum | IntFlag]] = {
    "icmp_errors": ICMP_ERRORS,
    "mss_clamp": MSS_CLAMP,
}
NAMES = ("icmp_errors", "icmp_rate", "mss_clamp")


def add_arguments(parser: ToolParser) -> None:
    """The options, each the name of a field of the configuration."""
    add = parser.add_argument_group("settings").add_argument
    add(
        "--icmp-errors",
        choices=list(ICMP_ERRORS),
        help="who tells a guest that a packet of its went too far or is too long: answer, dp-core "
        "itself (the default), or trap, the agent",
    )
    add(
        "--icmp-rate",
        type=argtypes.number(0, 10**6, "a rate"),
        metavar="N",
        help="ICMP errors a second, at most, about the packets of one vif (default 1000; 0: no "
        "limit)",
    )
    add(
        "--mss-clamp",
        choices=list(MSS_CLAMP),
        help="whose TCP connections are kept to segments that fit the fabric: of SYNs that guests "
        "send into tunnels (from-vm), of those that tunnels bring (to-vm), both (the default), off",
    )


def word(name: str, value: int) -> str:
    """The value of a setting as its option takes it."""
    return next((one for one, number in WORDS[name].items() if number == value), str(value))


def given(args: argparse.Namespace) -> bool:
    """Whether there is a setting among the arguments."""
    return any(getattr(args, name) is not None for name in NAMES)


def values(args: argparse.Namespace) -> dict[str, int]:
    """The fields of the configuration that the arguments name."""
    found = {name: getattr(args, name) for name in NAMES if getattr(args, name) is not None}
    return {
        name: int(WORDS[name][value] if name in WORDS else value) for name, value in found.items()
    }


def write(args: argparse.Namespace) -> None:
    """Write those that differ from what is set."""
    wanted = values(args)
    with open_core(args) as core, core.lock():
        config = core.config.get()
        fresh = {name: value for name, value in wanted.items() if getattr(config, name) != value}
        core.config.set(**fresh)
    said = [f"{name.replace('_', '-')} is {getattr(args, name)}" for name in wanted]
    text = ", ".join(said)
    report(args, text if fresh else f"{text} already; nothing changed", changed=bool(fresh))
