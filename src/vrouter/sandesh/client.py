# SPDX-License-Identifier: Apache-2.0
"""A client of the door.

with Client("/run/vrouter/sockets") as client:
    client.request("vr_mpls_req", h_op=ADD, mr_label=100, mr_nhid=21)
    for route in client.dump("vr_route_req", rtr_vrf_id=1, rtr_family=2):
        print(route.rtr_prefix, route.rtr_nh_id)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from . import frames
from .codec import Message, decode, encode
from .dumps import MORE
from .errors import SandeshError
from .frames import HEADER, OWN_CLIENT, REASON, Frame
from .schema import DUMP, GET, RESPONSE, schemas

_SOCKET: Final = "dpdk_netlink"
_TIMEOUT: Final = 30.0
_WINDOW: Final = 128  # requests on their way at a time

# How the next request of a dump says from which object on: fields from that object's fields.
_MARKERS: Final[dict[str, Callable[[Message], dict[str, Any]]]] = {
    "vr_interface_req": lambda one: {"vifr_marker": one.vifr_idx},
    "vr_nexthop_req": lambda one: {"nhr_marker": one.nhr_id},
    "vr_mpls_req": lambda one: {"mr_marker": one.mr_label},
    "vr_vxlan_req": lambda one: {"vxlanr_vnid": one.vxlanr_vnid},
    "vr_mirror_req": lambda one: {"mirr_marker": one.mirr_index},
    "vr_vrf_req": lambda one: {"vrf_marker": one.vrf_idx},
    "vr_vrf_stats_req": lambda one: {"vsr_marker": one.vsr_vrf},
    "vr_vrf_assign_req": lambda one: {"var_marker": one.var_vlan_id},
    "vr_qos_map_req": lambda one: {"qmr_marker": one.qmr_id},
    "vr_fc_map_req": lambda one: {"fmr_marker": one.fmr_id[0]},
    "vr_route_req": lambda one: {
        "rtr_marker": one.rtr_prefix or one.rtr_mac,
        "rtr_marker_plen": one.rtr_prefix_len,
    },
}
_FIRST: Final = {
    "vr_interface_req": "vifr_marker",
    "vr_nexthop_req": "nhr_marker",
    "vr_mpls_req": "mr_marker",
    "vr_mirror_req": "mirr_marker",
    "vr_vrf_req": "vrf_marker",
    "vr_vrf_stats_req": "vsr_marker",
    "vr_vrf_assign_req": "var_marker",
    "vr_qos_map_req": "qmr_marker",
    "vr_fc_map_req": "fmr_marker",
}


class Client:
    """A connection to a door; a context manager. Not for several threads at once.

    folder: the --sock-dir of the door. as_upstream: short pages and no reasons, as a client of
    upstream's gets them. Raises OSError when nobody answers, within `timeout` seconds.
    """

    def __init__(
        self, folder: str | Path, *, timeout: float = _TIMEOUT, as_upstream: bool = False
    ) -> None:
        self._version = 0 if as_upstream else OWN_CLIENT
        self._sequence = 0
        self._received = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(os.fspath(Path(folder) / _SOCKET))
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def request(self, name: str, h_op: int = GET, **fields: Any) -> list[Message]:
        """Sends a request, gives back the objects of its answer.

        Raises SandeshError, with the errno and (of this door) the reason, when it is refused;
        Malformed for fields that do not exist or do not fit.
        """
        return self._ask(name, {_operation_of(name): h_op, **fields})[1]

    def many(self, name: str, h_op: int, rows: Iterable[dict[str, Any]]) -> dict[int, SandeshError]:
        """A request for each of `rows` (its fields), without waiting for each answer.

        All are sent; gives back the errors of those that were refused, by their place.
        """
        operation = {_operation_of(name): h_op}
        failed: dict[int, SandeshError] = {}
        left = enumerate(rows)
        waiting: list[int] = []
        while part := list(islice(left, _WINDOW)):
            self.send_raw(
                b"".join(
                    frames.request(0, encode(name, {**operation, **row}), version=self._version)
                    for _, row in part
                )
            )
            # the door is at these while the answers to those before are read
            self._take(waiting, failed)
            waiting = [place for place, _ in part]
        self._take(waiting, failed)
        return failed

    def _take(self, waiting: list[int], failed: dict[int, SandeshError]) -> None:
        """Reads an answer for each of the places, and notes the errors."""
        for place in waiting:
            for frame in self.receive():
                if frame.payload != _DONE:
                    code = next(decode(frame.payload)).resp_code
                    if code < 0:
                        failed[place] = SandeshError(-code, _reason(frame.payload))

    def get(self, name: str, **fields: Any) -> Message:
        """The one object that a GET gives back."""
        (found,) = self.request(name, GET, **fields)
        return found

    def dump(self, name: str, **fields: Any) -> Iterator[Message]:
        """All objects of a table, however many requests that takes."""
        asked = {"h_op": DUMP, **fields}
        if name in _FIRST:
            asked.setdefault(_FIRST[name], -1)
        while True:
            code, objects = self._ask(name, asked)
            yield from objects
            if not code & MORE or not objects:
                return
            asked |= _MARKERS[name](objects[-1])

    def send_raw(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._socket.sendall(data)

    def receive(self) -> list[Frame]:
        """The frames that answer one request."""
        found = [self._frame()]
        while found[-1].flags & frames.F_MULTI:
            found.append(self._frame())
        return found

    def _ask(self, name: str, fields: dict[str, Any]) -> tuple[int, list[Message]]:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        payload = encode(name, fields)
        self.send_raw(frames.request(self._sequence, payload, version=self._version))
        objects: list[Message] = []
        code = 0
        for frame in self.receive():
            if frame.payload == _DONE:
                continue
            for message in decode(frame.payload):
                if message.name == "vr_response":
                    code = message.resp_code
                    if code < 0:
                        raise SandeshError(-code, _reason(frame.payload))
                else:
                    objects.append(message)
        return code, objects

    def _frame(self) -> Frame:
        self._fill(HEADER.size)
        length = frames.length_of(bytes(self._received[: HEADER.size]))
        self._fill(length)
        data = bytes(self._received[:length])
        del self._received[:length]
        return frames.parse_answer(data)

    def _fill(self, length: int) -> None:
        while len(self._received) < length:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionResetError("the door has closed the connection")
            self._received += data


_DONE: Final = encode("vr_response", {"h_op": RESPONSE})


def _operation_of(name: str) -> str:
    """The field that says what is asked: the first one, h_op but in requests about flows."""
    schema = schemas().get(name)
    return "h_op" if schema is None else schema.fields[0].name


def _reason(payload: bytes) -> str:
    """The string behind the fields of a vr_response, if there is one."""
    head = b"\x0b" + REASON.to_bytes(2, "big")
    at = payload.find(head)
    if at < 0:
        return ""
    at += len(head)
    length = int.from_bytes(payload[at : at + 4], "big")
    return payload[at + 4 : at + 4 + length].decode("utf-8", "replace")
