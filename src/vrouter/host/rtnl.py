# SPDX-License-Identifier: Apache-2.0
"""Addresses and routes as raw rtnetlink messages, so that what is read can be put back exactly.

A message body is kept as bytes: its fixed header, then attributes as `Attrs`, a list of
(type, value). Nothing is lost that this file does not know. Layouts: linux/rtnetlink.h,
linux/if_addr.h; integers in host byte order.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from types import TracebackType

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_GETTFILTER = 46
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_AT_ONCE = 256  # requests: their answers must fit into the socket's receive buffer

Attrs = list[tuple[int, bytes]]


def parse_attrs(data: bytes) -> Attrs:
    """Attributes of a message, in order; the nested and byte-order bits of the type are kept."""
    found: Attrs = []
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found.append((kind, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


def pack_attrs(attrs: Attrs) -> bytes:
    """The reverse of `parse_attrs`."""
    parts = []
    for kind, value in attrs:
        parts.append(struct.pack("=HH", len(value) + 4, kind) + value)
        parts.append(b"\0" * (-len(value) % 4))
    return b"".join(parts)


def attr(attrs: Attrs, wanted: int) -> bytes | None:
    """Value of the first attribute of type `wanted`."""
    return next((value for kind, value in attrs if kind & 0x3FFF == wanted), None)


@dataclass(frozen=True)
class Request:
    """One operation of a batch; `ignore`: errno values that mean "is so already"."""

    kind: int
    flags: int
    body: bytes
    what: str
    ignore: tuple[int, ...] = ()


class RtSocket:
    """A NETLINK_ROUTE socket of the calling thread's namespace; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> RtSocket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def dump(self, kind: int, header: bytes) -> list[bytes]:
        """Bodies (fixed header and attributes) of all objects that RTM_GET* `kind` lists."""
        self._sequence += 1
        flags = NLM_F_REQUEST | NLM_F_DUMP
        length = _HEADER.size + len(header)
        self._socket.send(_HEADER.pack(length, kind, flags, self._sequence, 0) + header)
        bodies: list[bytes] = []
        while True:
            for answer, body, _ in self._receive():
                if answer == _NLMSG_DONE:
                    return bodies
                if answer == _NLMSG_ERROR:
                    code = -int(struct.unpack_from("=i", body)[0])
                    raise OSError(code, os.strerror(code), "netlink dump")
                bodies.append(body)

    def batch(self, requests: list[Request]) -> None:
        """Send all, in order; raises OSError for the first that failed.

        The kernel goes on after a failure, so what follows it may have been done.
        """
        failed = self.attempt(requests)
        if failed:
            raise failed[0]

    def attempt(self, requests: list[Request]) -> list[OSError]:
        """Send all, in order, in few system calls; what failed, `what` as the file name."""
        failed: list[OSError] = []
        for start in range(0, len(requests), _AT_ONCE):
            failed += self._attempt(requests[start : start + _AT_ONCE])
        return failed

    def _attempt(self, requests: list[Request]) -> list[OSError]:
        waiting: dict[int, Request] = {}
        data = b""
        for request in requests:
            self._sequence += 1
            waiting[self._sequence] = request
            flags = NLM_F_REQUEST | NLM_F_ACK | request.flags
            length = _HEADER.size + len(request.body)
            data += _HEADER.pack(length, request.kind, flags, self._sequence, 0) + request.body
            data += b"\0" * (-len(data) % 4)
        self._socket.send(data)
        failed: list[OSError] = []
        while waiting:
            for answer, body, sequence in self._receive():
                done = waiting.pop(sequence, None) if answer == _NLMSG_ERROR else None
                code = -int(struct.unpack_from("=i", body)[0]) if done is not None else 0
                if done is not None and code and code not in done.ignore:
                    failed.append(OSError(code, os.strerror(code), done.what))
        return failed

    def _receive(self) -> list[tuple[int, bytes, int]]:
        data = self._socket.recv(1 << 20)
        messages = []
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size:
                raise OSError(errno.EBADMSG, "malformed netlink answer")
            messages.append((kind, data[offset + _HEADER.size : offset + length], sequence))
            offset += (length + 3) & ~3
        return messages
