# SPDX-License-Identifier: Apache-2.0
"""The agent as its APIs see it: the desired state, and how far it is real.

`daemon.py` is behind it; the HTTP APIs, `vrouter apply` and tests are in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from vrouter.agent.desired.records import Network, Record
from vrouter.dpcore.errors import VrouterError

# port: a file of the port API; cni: made for a container
Source = Literal["file", "api", "port", "cni"]
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a request. path: of the key, as `network[0].subnets[1].gateway`."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


class Rejected(VrouterError):  # noqa: N818 - as its siblings in dpcore.errors
    """A request that was refused whole; nothing has changed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request did (or would do): (kind, name) of each object."""

    added: tuple[tuple[str, str], ...] = ()
    changed: tuple[tuple[str, str], ...] = ()
    removed: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class PortState:
    """How far an interface is real. vif: idx, None while its device is missing; why: what it
    waits for, "" when it is active."""

    name: str
    active: bool
    why: str
    vif: int | None
    vrf: int | None
    label: int | None
    l2_label: int | None


@dataclass(frozen=True, slots=True)
class BfdState:
    """A BFD session. state: "waiting" (why says for what), "down", "init" or "up"; why: of one
    that went down. local: the address that is spoken from. seconds: in that state."""

    name: str
    state: str
    why: str
    local: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A host of the fabric. mac: as the kernel's neighbour table has it, "" while unresolved."""

    address: str
    mac: str
    device: str


class Facade(Protocol):
    """What the agent offers. Writers return once the store has the change for good (it is
    acknowledged) and dp-core's tables have it; a port whose device is missing is no error."""

    async def put(self, records: Iterable[Record], source: Source) -> Outcome:
        """Add or replace objects. Raises Rejected."""

    async def delete(self, keys: Iterable[tuple[str, str]]) -> Outcome:
        """Remove objects by (kind, name); what is not there is passed over. Raises Rejected
        when another object still needs one of them."""

    async def apply(self, records: Iterable[Record], *, dry_run: bool = False) -> Outcome:
        """Make `records` all that is of source "file"; others stay, but an interface that a port
        made gives way to one of its UUID, which keeps the port's device. Raises Rejected."""

    def get(self, kind: type[R], name: str) -> R | None:
        """One object."""

    def by_uuid(self, kind: type[R], uuid: str) -> R | None:
        """The object of that UUID, whatever its name."""

    def all(self, kind: type[R]) -> list[R]:
        """All objects of a kind, by name."""

    def source(self, kind: str, name: str) -> Source | None:
        """Where an object came from."""

    def port_state(self, name: str) -> PortState | None:
        """How far an interface is real."""

    def bfd_state(self, name: str) -> BfdState | None:
        """How a BFD session is."""

    def status(self) -> Mapping[str, Any]:
        """Agent state for people and probes: alive since, phase, counts, pending ports."""

    @property
    def ready(self) -> bool:
        """Whether the start is over: tables reconciled, pkt0 open."""

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """Packets of each packet service ("arp", "dhcp", "dns", ...) by how they ended."""

    def neighbours(self) -> Sequence[Neighbour]:
        """The neighbours on the fabric that tunnels need."""

    def mtu(self, network: Network) -> int:
        """The MTU that ports of a network are told: its own, or what fits the fabric."""
