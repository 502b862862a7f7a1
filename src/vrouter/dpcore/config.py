# SPDX-License-Identifier: Apache-2.0
"""Map `config`: what dp-core as a whole is told (struct vr_config)."""

from __future__ import annotations

from typing import Any

from .errors import BadValue
from .home import Home
from .names import VIF_NONE
from .records import Config

_NONE_WORD = VIF_NONE
_WRITABLE = frozenset(
    {"agent_vif", "hash_seed", "events", "spare_vifs", "spare_nexthops", "trap_rate", "qos_maps"}
)


class ConfigTable:
    """The configuration of an instance.

    Each field is written by one aligned store of its own: writers of different
    fields do not disturb each other.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._layout = home.layout("vr_config")
        self._memory = home.array("config").mmap()

    def get(self) -> Config:
        """All fields."""
        fields: dict[str, Any] = self._layout.unpack(self._memory)
        agent = fields["agent_vif"]
        fields["agent_vif"] = None if agent >= _NONE_WORD else agent
        return Config(**{name: fields[name] for name in Config.__dataclass_fields__})

    def set(self, **values: int | None) -> None:
        """Writes the named fields; agent_vif=None: no agent.

        Raises BadValue for a field that is not there, is dp-core's own, or does not fit.
        """
        for name, value in values.items():
            if name not in _WRITABLE:
                raise BadValue(name, value, "the configuration has no such field to set")
            if name == "agent_vif" and value is None:
                values[name] = _NONE_WORD
            elif value is None or not 0 <= value < 1 << 32:
                raise BadValue(name, value, "not an integer of 32 bits")
        with self._home.lock(), self._memory.cast("I") as words:
            for name, value in values.items():
                if value is not None:
                    words[self._layout.fields[name].offset // 4] = value

    def beat(self, now_ns: int) -> None:
        """The agent lives (CLOCK_BOOTTIME, ns); 0: whether it does is not asked any more.

        Takes no lock: one aligned store of a field that only the agent writes.
        """
        with self._memory.cast("Q") as words:
            words[self._layout.fields["heartbeat"].offset // 8] = now_ns

    def close(self) -> None:
        """Lets go of the mapping."""
        self._memory.release()
