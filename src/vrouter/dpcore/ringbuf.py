# SPDX-License-Identifier: Apache-2.0
"""Read the ring buffers of dp-core: events, and copies of test mode."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Protocol, Self

from . import libbpf
from .btf import Btf
from .errors import Busy, Reloaded, VrouterError
from .instance import Instance
from .layout import Layout
from .maps import ArrayMap, BpfMap, open_map

_LABEL_NONE: Final = 0xFFFFFFFF
_IPV6: Final = 0x86DD
_LEASE_NS: Final = 5_000_000_000

Address = IPv4Address | IPv6Address


class RingReader:
    """The records of one ring buffer, in order. There can be only one reader of a ring."""

    def __init__(self, ring: BpfMap) -> None:
        self.name = ring.name
        self._lib: Any = libbpf.lib()
        self._records: deque[bytes] = deque()
        # libbpf calls back as long as the ring is open: the object must live
        self._callback = libbpf.SAMPLE_FN(self._take)
        self._ring = self._lib.ring_buffer__new(ring.fd, self._callback, None, None)
        if not self._ring:
            number = ctypes.get_errno()
            raise VrouterError(
                f"cannot read the ring buffer {ring.name}: {os.strerror(number)}", errno=number
            )

    def _take(self, _context: int | None, data: int, size: int) -> int:
        self._records.append(ctypes.string_at(data, size))
        return 0

    def read(self, timeout: float = 0.0) -> list[bytes]:
        """All records that are there; waits up to `timeout` seconds for the first."""
        result = self._lib.ring_buffer__consume(self._ring)
        if result == 0 and timeout > 0:
            result = self._lib.ring_buffer__poll(self._ring, max(1, int(timeout * 1000)))
        if result < 0 and result != -errno.EINTR:
            libbpf.check(result, f"cannot read the ring buffer {self.name}")
        found = list(self._records)
        self._records.clear()
        return found

    def fileno(self) -> int:
        """A file descriptor that is readable when records are there (for select, asyncio)."""
        return int(self._lib.ring_buffer__epoll_fd(self._ring))

    def close(self) -> None:
        """Lets go of the ring; what was not read stays for the next reader."""
        ring, self._ring = self._ring, None
        if ring:
            self._lib.ring_buffer__free(ring)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Event:
    """struct vr_event: something that dp-core did to a packet.

    kind: enum vr_event_kind; id: the same for all events of one pass; ns:
    CLOCK_MONOTONIC; reason: drop or trap reason; label: None if none; sip, dip:
    of IP and ARP, else None; proto: of IPv6 the first next header; sport, dport:
    of TCP and UDP, identifier and sequence number of an ICMP echo. All integers
    in host order.
    """

    kind: int
    id: int
    ns: int
    vif: int
    vrf: int
    nh: int
    label: int | None
    len: int
    eth_type: int
    sip: Address | None
    dip: Address | None
    sport: int
    dport: int
    proto: int
    reason: int
    vif_type: int
    cpu: int


class _Opened(Protocol):
    """What a DpCore offers that a reader needs."""

    @property
    def instance(self) -> Instance: ...


class EventReader:
    """Switches events on for as long as it is open, and reads them.

    A context manager and an endless iterator. mask: enum vr_event_mask. One
    reader per instance: Busy if another one is there. Each read() asks for five
    more seconds of events: dp-core stops telling a reader that was killed.
    """

    def __init__(self, core: _Opened, mask: int) -> None:
        self._instance = core.instance
        self._mask = int(mask)
        self._renew = 0  # CLOCK_MONOTONIC, ns
        self._lock = _lock_events(self._instance)
        try:
            ring = open_map(self._instance.map_path("events"))
            self._ring = RingReader(ring)
            self._ring_id = ring.id
            # what an earlier reader left unread is not of this one's time
            self._ring.read()
            self._layout = self._listen()
        except BaseException:
            os.close(self._lock)
            raise

    def _listen(self) -> Layout:
        """Asks for events, for some seconds; the layout of events of the dp-core that runs."""
        now = time.monotonic_ns()
        self._renew = now + _LEASE_NS // 2
        return _ask(self._instance, self._mask, now + _LEASE_NS)

    def read(self, timeout: float = 0.2) -> list[Event]:
        """The events that are there; waits up to `timeout` seconds for the first.

        Raises Reloaded when a load gave dp-core another ring buffer.
        """
        if time.monotonic_ns() > self._renew:
            self._listen()
        records = self._ring.read(timeout)
        if not records:
            self._check_current()
        return [self._event(record) for record in records]

    def _check_current(self) -> None:
        with open_map(self._instance.map_path("events")) as ring:
            if ring.id != self._ring_id:
                raise Reloaded(self._instance.name)

    def fileno(self) -> int:
        """Readable when events are there."""
        return self._ring.fileno()

    def close(self) -> None:
        """Switches events off."""
        if self._lock < 0:
            return
        with suppress(VrouterError):
            _ask(self._instance, 0, 0)
        self._ring.close()
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        while True:
            yield from self.read()

    def _event(self, record: bytes) -> Event:
        fields = self._layout.unpack(record)
        fields["sip"], fields["dip"] = _addresses(**fields)
        if fields["label"] == _LABEL_NONE:
            fields["label"] = None
        return Event(**{name: fields[name] for name in Event.__dataclass_fields__})


def _addresses(
    eth_type: int, sip: bytes | int, dip: bytes | int, **_: object
) -> tuple[Address, Address] | tuple[None, None]:
    if isinstance(sip, int) or isinstance(dip, int):  # of a dp-core that told of IPv4 only
        return (IPv4Address(sip), IPv4Address(dip)) if sip or dip else (None, None)
    if not (any(sip) or any(dip)):
        return None, None
    if eth_type == _IPV6:
        return IPv6Address(sip), IPv6Address(dip)
    return IPv4Address(sip[:4]), IPv4Address(dip[:4])


def _ask(instance: Instance, mask: int, until: int) -> Layout:
    """Writes to the configuration that is in use now: a load may have made another.

    Returns the layout of that dp-core's events.
    """
    with open_map(instance.map_path("config")) as config:
        if not isinstance(config, ArrayMap):
            raise VrouterError("the configuration of dp-core is not an array")
        types = Btf.from_kernel(config.btf_id)
        fields = types.layout("vr_config").fields
        with config.mmap() as memory:
            with memory.cast("Q") as longs:
                longs[fields["events_until"].offset // 8] = until
            with memory.cast("I") as words:
                words[fields["events"].offset // 4] = mask
    return types.layout("vr_event")


def _lock_events(instance: Instance) -> int:
    path = instance.run_dir / "events.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 20, 0).decode(errors="replace") or "unknown"
        os.close(fd)
        raise Busy(
            f"process {owner} reads the events of vRouter {instance.name!r}: "
            "there can be one reader at a time"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd
