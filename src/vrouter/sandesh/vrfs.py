# SPDX-License-Identifier: Apache-2.0
"""Which VRFs a controller has added.

dp-core needs no such list: every VRF of its tables is there. A controller that asks for its
VRFs must find them, though, also after the door was started anew, so they stand in a file of
the instance, which counts as long as the same load lasts.
"""

from __future__ import annotations

import json
import os

from vrouter.dpcore.core import DpCore

FILE = "vrfs.json"


class Vrfs:
    """The VRFs that were added, as a set of numbers."""

    def __init__(self, core: DpCore) -> None:
        self._path = core.instance.run_dir / FILE
        self._loaded = core.config.get().loaded_ns
        self._vrfs = self._read()

    def all(self) -> list[int]:
        """All of them, ascending."""
        return sorted(self._vrfs)

    def __contains__(self, vrf: int) -> bool:
        return vrf in self._vrfs

    def add(self, vrf: int) -> None:
        """Adds one; fine if it is there."""
        self._write(self._vrfs | {vrf})

    def remove(self, vrf: int) -> None:
        """Removes one."""
        self._write(self._vrfs - {vrf})

    def clear(self) -> None:
        """Removes all."""
        self._write(set())

    def _read(self) -> set[int]:
        try:
            stored = json.loads(self._path.read_text())
            return set(stored["vrfs"]) if stored["loaded_ns"] == self._loaded else set()
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def _write(self, vrfs: set[int]) -> None:
        if vrfs == self._vrfs:
            return
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"loaded_ns": self._loaded, "vrfs": sorted(vrfs)}) + "\n")
        os.replace(fresh, self._path)
        self._vrfs = vrfs
