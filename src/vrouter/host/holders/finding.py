# SPDX-License-Identifier: Apache-2.0
"""One thing that holds a NIC."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`blocks`: the take-over is refused because of it unless forced; else it is only told."""

    kind: str
    text: str
    remedy: str
    blocks: bool

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}: {self.remedy}"
