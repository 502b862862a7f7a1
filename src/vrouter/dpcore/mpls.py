# SPDX-License-Identifier: Apache-2.0
"""Table `mpls`: incoming label -> nexthop. One word per label, changed by one store."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import BadValue, NoSuchEntry
from .home import Home
from .names import ENTRY_VALID

RESERVED = 16  # labels 0 to 15 have a meaning of their own (RFC 3032)


class MplsTable:
    """The labels of an instance."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._words = home.words("mpls")
        self.size = self._words.size

    def get(self, label: int) -> int | None:
        """The nexthop id of `label`."""
        word = self._words.get(label)
        return word & ~ENTRY_VALID if word & ENTRY_VALID else None

    def put(self, label: int, nh: int) -> None:
        """Adds or changes `label`; the nexthop need not exist yet. Raises BadValue."""
        if not RESERVED <= label < self.size:
            raise BadValue(
                "label",
                label,
                f"labels are {RESERVED} to {self.size - 1} (load with --size labels=N for more)",
            )
        self._home.check_nexthop(nh)
        with self._home.lock():
            self._words.set(label, ENTRY_VALID | nh)

    def delete(self, label: int) -> None:
        """Removes `label`; NoSuchEntry if it is not there."""
        with self._home.lock():
            if self.get(label) is None:
                raise NoSuchEntry(f"there is no label {label}")
            self._words.set(label, 0)

    def items(self) -> Iterator[tuple[int, int]]:
        """All (label, nexthop id), ascending."""
        for label, word in self._words.nonzero():
            if word & ENTRY_VALID:
                yield label, word & ~ENTRY_VALID
