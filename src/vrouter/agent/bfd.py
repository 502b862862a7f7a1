# SPDX-License-Identifier: Apache-2.0
"""BFD sessions of the desired state, given to the service, and how they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from vrouter.agent.desired.records import Bfd, Network
from vrouter.agent.desired.state import State
from vrouter.agent.facade import BfdState, PortState
from vrouter.agent.facts import parse
from vrouter.agent.services.bfd import BfdService, Wanted

_WAITING: Final = "waiting"
_SECOND: Final = 1000  # milliseconds
_WORDS: Final = {
    0: "",
    1: "nothing was heard of it in time",
    3: "it says that it is down",
}


class BfdSessions:
    """Runs in the agent's loop. ports: how far an interface is real."""

    def __init__(
        self, state: State, service: BfdService, ports: Callable[[str], PortState | None]
    ) -> None:
        self._state = state
        self._service = service
        self._ports = ports

    def configure(self) -> None:
        """Make the service's sessions those of the desired state whose ports are live."""
        networks = [one.name for one in list(self._state.all(Network)) if one.bfd]
        self._service.configure(self._wanted(), networks)

    def _wanted(self) -> Iterable[Wanted]:
        for one in list(self._state.all(Bfd)):
            port = self._ports(one.interface)
            if port is not None and port.vif is not None:
                yield _session(one, port.vif)

    def of(self, name: str) -> BfdState | None:
        """How a session of the desired state is."""
        one = self._state.get(Bfd, name)
        if one is None:
            return None
        port = self._ports(one.interface)
        if port is None or port.vif is None:
            why = "" if port is None else port.why
            return BfdState(name, _WAITING, f"{one.interface} is not active: {why}", None, 0.0)
        remote = parse(one.peer)
        for seen in self._service.sessions():
            if (seen.vif, seen.remote) == (port.vif, remote) and seen.configured:
                since = round(time.monotonic() - seen.since, 1)
                why = _WORDS.get(seen.diag, f"diagnostic {seen.diag}") if seen.diag else ""
                return BfdState(name, seen.state, why, str(seen.local), since)
        return BfdState(name, _WAITING, "it is being made", None, 0.0)


def _session(one: Bfd, vif: int) -> Wanted:
    return Wanted(
        vif=vif,
        remote=parse(one.peer),
        passive=one.passive,
        min_tx=one.min_tx / _SECOND,
        min_rx=one.min_rx / _SECOND,
        multiplier=one.multiplier,
    )
