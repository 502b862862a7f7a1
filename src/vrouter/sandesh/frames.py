# SPDX-License-Identifier: Apache-2.0
"""The netlink headers around messages on the unix socket; all in host byte order.

    nlmsghdr   u32 length, u16 type, u16 flags, u32 sequence, u32 port
    genlmsghdr u8 command (1), u8 version, u16 reserved
    nlattr     u16 length, u16 type (1)
    messages

Of a request the length of the nlattr is that of the messages and its own 4 bytes; of an answer
it is without them, as upstream's (of both its doors). The version of the genlmsghdr is 0;
clients of ours say 1, which asks for long pages and for reasons.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from .skip import Malformed

REQUEST_TYPE: Final = 0x20  # NLMSG_MIN_TYPE + 0x10, what upstream's clients say on this socket
F_REQUEST: Final = 1
F_MULTI: Final = 2
COMMAND: Final = 1  # SANDESH_REQUEST
ATTRIBUTE: Final = 1
HEADER: Final = struct.Struct("=IHHII")
_REST: Final = struct.Struct("=BBHHH")
OVERHEAD: Final = HEADER.size + _REST.size
MAX_FRAME: Final = 1 << 18
OWN_CLIENT: Final = 1
"""The version by which clients of ours ask for long pages and for the reason of an error."""
REASON: Final = 1000
"""Id of the string, unknown to upstream, that follows the fields of vr_response then."""
_NLA_HEADER: Final = 4
MAX_PAYLOAD: Final = 0xFFFF - _NLA_HEADER


@dataclass(frozen=True, slots=True)
class Frame:
    """Messages, and what of their headers matters."""

    kind: int
    flags: int
    sequence: int
    port: int
    version: int
    payload: bytes


def length_of(head: bytes | bytearray) -> int:
    """The length of the frame that begins with these 16 bytes. Raises Malformed: no frame."""
    length = int(HEADER.unpack_from(head)[0])
    if not OVERHEAD <= length <= MAX_FRAME:
        raise Malformed(f"a frame of {length} bytes: they have {OVERHEAD} to {MAX_FRAME}")
    return length


def parse_request(data: bytes) -> Frame:
    """A whole frame with a request. Raises Malformed."""
    _, kind, flags, sequence, port = HEADER.unpack_from(data)
    command, version, _, length, attribute = _REST.unpack_from(data, HEADER.size)
    if (command, attribute) != (COMMAND, ATTRIBUTE):
        raise Malformed(f"command {command} and attribute {attribute}, not 1 and 1")
    if not _NLA_HEADER <= length <= len(data) - HEADER.size - 4:
        raise Malformed(f"an attribute of {length} bytes in a frame of {len(data)}")
    payload = data[OVERHEAD : OVERHEAD + length - _NLA_HEADER]
    return Frame(kind, flags, sequence, port, version, payload)


def head_of(data: bytes) -> Frame:
    """What must be echoed of a frame that is not understood."""
    _, kind, flags, sequence, port = HEADER.unpack_from(data)
    return Frame(kind, flags, sequence, port, 0, b"")


def request(sequence: int, payload: bytes, *, version: int = 0) -> bytes:
    """A frame with a request."""
    length = OVERHEAD + len(payload)
    return (
        HEADER.pack(length, REQUEST_TYPE, F_REQUEST, sequence, 0)
        + _REST.pack(COMMAND, version, 0, len(payload) + _NLA_HEADER, ATTRIBUTE)
        + payload
    )


def answers(to: Frame, payloads: list[bytes]) -> bytes:
    """The frames that answer `to`: all but the last say that more follow."""
    last = len(payloads) - 1
    parts = []
    for number, payload in enumerate(payloads):
        flags = 0 if number == last else F_MULTI
        length = OVERHEAD + len(payload)
        parts.append(HEADER.pack(length, to.kind, flags, to.sequence, to.port))
        parts.append(_REST.pack(COMMAND, to.version, 0, len(payload), ATTRIBUTE))
        parts.append(payload)
    return b"".join(parts)


def parse_answer(data: bytes) -> Frame:
    """A whole frame with an answer. Raises Malformed."""
    _, kind, flags, sequence, port = HEADER.unpack_from(data)
    _, version, _, length, _ = _REST.unpack_from(data, HEADER.size)
    return Frame(kind, flags, sequence, port, version, data[OVERHEAD : OVERHEAD + length])
