# SPDX-License-Identifier: Apache-2.0
"""Tables `qos_map` and `fc_map`: forwarding classes, and what leads to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .config import ConfigTable
from .errors import BadValue, NoSuchEntry
from .home import Home
from .names import ENTRY_VALID
from .records import ForwardingClass, QosMap

_LIMITS = {"dscp": 64, "exp": 8, "dot1p": 8, "queue": 256}
_SHIFTS = {"dscp": 0, "exp": 8, "dot1p": 12, "queue": 16}


class QosTable:
    """QoS maps by index, forwarding classes by number."""

    def __init__(self, home: Home, config: ConfigTable) -> None:
        self._home = home
        self._config = config
        self._maps = home.array("qos_map")
        self._classes = home.words("fc_map")
        self._layout = home.layout("vr_qos_map")
        self.size = self._maps.max_entries
        self.classes = self._classes.size

    def get(self, index: int) -> QosMap | None:
        """The map of that index."""
        if not 0 <= index < self.size:
            return None
        fields = self._layout.unpack(self._maps.get(index))
        if not fields["valid"]:
            return None
        return QosMap(
            index=index,
            dscp=tuple(fields["dscp"]),
            exp=tuple(fields["exp"]),
            dot1p=tuple(fields["dot1p"]),
        )

    def put(self, qos: QosMap) -> None:
        """Adds or changes a map. Raises BadValue."""
        if not 0 <= qos.index < self.size:
            raise BadValue("index", qos.index, f"maps are 0 to {self.size - 1}")
        for name in ("dscp", "exp", "dot1p"):
            values = getattr(qos, name)
            if len(values) != _LIMITS[name] or not all(0 <= fc < self.classes for fc in values):
                why = f"{_LIMITS[name]} forwarding classes, 0 to {self.classes - 1}"
                raise BadValue(name, values, why)
        with self._home.lock():
            new = self.get(qos.index) is None
            self._maps.set(
                qos.index,
                self._layout.pack(
                    valid=1, dscp=bytes(qos.dscp), exp=bytes(qos.exp), dot1p=bytes(qos.dot1p)
                ),
            )
            if new:
                self._count()

    def delete(self, index: int) -> None:
        """Removes a map; NoSuchEntry if there is none."""
        with self._home.lock():
            if self.get(index) is None:
                raise NoSuchEntry(f"there is no QoS map {index}")
            self._maps.set(index, bytes(self._layout.size))
            self._count()

    def items(self) -> Iterator[QosMap]:
        """All maps, by index."""
        for index in range(self.size):
            found = self.get(index)
            if found is not None:
                yield found

    def get_class(self, fc: int) -> ForwardingClass | None:
        """The forwarding class of that number."""
        word = self._classes.get(fc)
        if not word & ENTRY_VALID:
            return None
        values = {name: word >> _SHIFTS[name] & limit - 1 for name, limit in _LIMITS.items()}
        return ForwardingClass(id=fc, **values)

    def put_class(self, fc: ForwardingClass) -> None:
        """Adds or changes a forwarding class. Raises BadValue."""
        self.put_classes((fc,))

    def put_classes(self, classes: Iterable[ForwardingClass]) -> None:
        """put_class() of several: all are checked before the first is written."""
        words = {fc.id: self._word(fc) for fc in classes}
        with self._home.lock():
            for id, word in words.items():
                self._classes.set(id, word)

    def _word(self, fc: ForwardingClass) -> int:
        if not 0 <= fc.id < self.classes:
            raise BadValue("id", fc.id, f"forwarding classes are 0 to {self.classes - 1}")
        word = ENTRY_VALID
        for name, limit in _LIMITS.items():
            value = getattr(fc, name)
            if not 0 <= value < limit:
                raise BadValue(name, value, f"0 to {limit - 1}")
            word |= value << _SHIFTS[name]
        return word

    def delete_class(self, fc: int) -> None:
        """Removes a forwarding class; NoSuchEntry if there is none."""
        with self._home.lock():
            if self.get_class(fc) is None:
                raise NoSuchEntry(f"there is no forwarding class {fc}")
            self._classes.set(fc, 0)

    def class_items(self) -> Iterator[ForwardingClass]:
        """All forwarding classes, by number."""
        for fc, _ in self._classes.nonzero():
            found = self.get_class(fc)
            if found is not None:
                yield found

    def _count(self) -> None:
        """While there are none, dp-core looks nothing up."""
        valid = self._layout.fields["valid"].offset
        count = sum(1 for one in self._maps.get_range(0, self.size) if one[valid])
        self._config.set(qos_maps=count)
