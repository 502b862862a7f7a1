# SPDX-License-Identifier: Apache-2.0
"""A step: what it does in words, for --dry-run and for the report, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`lines` say what is done, in the infinitive; `do` returns what is to be told besides."""

    lines: tuple[str, ...]
    do: Callable[[], Sequence[str] | None]


def step(do: Callable[[], Sequence[str] | None], *lines: str) -> Step:
    """A step, its words behind."""
    return Step(lines, do)


def run(steps: Sequence[Step]) -> list[str]:
    """Do all, in order; the lines of all, each with what there was to tell behind it."""
    done: list[str] = []
    for one in steps:
        notes = one.do()
        done += [*one.lines, *(f"note: {note}" for note in notes or ())]
    return done
