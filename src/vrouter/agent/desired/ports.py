# SPDX-License-Identifier: Apache-2.0
"""A file says what an interface is, a port may bring its netdevice."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vrouter.agent.desired.records import Interface, Record
from vrouter.agent.desired.state import Key, State


def with_ports(state: State, records: Iterable[Record]) -> tuple[list[Record], list[Key]]:
    """`records` with the devices that ports have brought to interfaces of theirs that name none,
    and the interfaces that ports made by themselves before these were there, which give way.

    So applying a file again takes no port's device away, not even for a moment.
    """
    found: list[Record] = []
    way: list[Key] = []
    for one in records:
        key = state.owner("uuid", Interface.kind, one.uuid) if isinstance(one, Interface) else None
        before = None if key is None else state.record(key)
        if isinstance(one, Interface) and isinstance(before, Interface) and key is not None:
            if not one.device and not one.parent:
                one = msgspec.structs.replace(one, device=before.device)
            if before.name != one.name and state.source(key) == "port":
                way.append(key)
        found.append(one)
    return found, way
