# SPDX-License-Identifier: Apache-2.0
"""What a reader raises."""

from __future__ import annotations


class Malformed(Exception):  # noqa: N818 - it says what the packet is
    """A packet that its protocol does not allow. `reason` is one of a fixed set of words, for a
    counter; nothing of the packet's own bytes gets into it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
