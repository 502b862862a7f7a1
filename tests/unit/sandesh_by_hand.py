# SPDX-License-Identifier: Apache-2.0
"""Messages and frames put together a second time, from the description of the wire alone.

It knows nothing of vrouter.sandesh but its table of messages, and packs byte by byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[2] / "src/vrouter/sandesh/messages.txt"
GOLDEN = Path(__file__).parent / "golden/sandesh"

# type code and bytes of each IDL type
WIRE = {
    "byte": (3, 1),
    "i16": (6, 2),
    "u16": (19, 2),
    "i32": (8, 4),
    "u32": (20, 4),
    "i64": (10, 8),
    "u64": (9, 8),
    "sandesh_op": (8, 4),
    "flow_op": (8, 4),
}


@cache
def fields_of() -> dict[str, list[tuple[int, str, str | None, str]]]:
    """By message: id, type, type of the elements of a list, name."""
    found: dict[str, list[tuple[int, str, str | None, str]]] = {}
    message = ""
    for line in TABLE.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith(" "):
            message = line.strip()
            found[message] = []
            continue
        number, kind, *rest = line.split()
        element = rest[0] if kind == "list" else None
        found[message].append((int(number), kind, element, rest[-1]))
    return found


def _number(value: int, size: int) -> bytes:
    return (value % (1 << 8 * size)).to_bytes(size, "big")


def message(name: str, values: Mapping[str, Any]) -> bytes:
    """Every field of the message, in order; those that `values` does not have are 0 or empty."""
    out = len(name).to_bytes(4, "big") + name.encode()
    for number, kind, element, field in fields_of()[name]:
        value = values.get(field)
        if kind == "string":
            raw = (value or "").encode()
            out += bytes([11]) + number.to_bytes(2, "big") + len(raw).to_bytes(4, "big") + raw
        elif element is not None:
            code, size = WIRE[element]
            items = list(value or ())
            out += bytes([15]) + number.to_bytes(2, "big") + bytes([code])
            out += len(items).to_bytes(4, "big") + b"".join(_number(one, size) for one in items)
        else:
            code, size = WIRE[kind]
            out += bytes([code]) + number.to_bytes(2, "big") + _number(value or 0, size)
    return out + b"\0"


def frame(payload: bytes, sequence: int = 1, *, port: int = 0, version: int = 0) -> bytes:
    """A request: its attribute counts its own four bytes."""
    import sys

    def host(value: int, size: int) -> bytes:
        return value.to_bytes(size, sys.byteorder)

    head = host(24 + len(payload), 4) + host(0x20, 2) + host(1, 2) + host(sequence, 4)
    head += host(port, 4) + bytes([1, version, 0, 0])
    return head + host(4 + len(payload), 2) + host(1, 2) + payload


def sample(name: str) -> dict[str, Any]:
    """Values that differ from field to field, negative ones and long lists among them."""
    values: dict[str, Any] = {}
    for place, (number, kind, element, field) in enumerate(fields_of()[name]):
        if kind == "string":
            values[field] = f"text-{number}"
        elif element is not None:
            size = WIRE[element][1]
            top = 1 << (8 * size - 1)
            values[field] = [(place * 7 + item * 31 + number) % top for item in range(place % 7)]
        elif kind in ("sandesh_op", "flow_op"):
            values[field] = place % 3
        else:
            size = WIRE[kind][1]
            top = 1 << (8 * size - 1)
            value = (number * 0x0123456789ABCD + 17) % top
            signed = not kind.startswith("u")
            values[field] = -value if signed and place % 2 else value
    return values


def main() -> None:
    """Writes the golden files anew."""
    for name in fields_of():
        text = message(name, sample(name)).hex()
        lines = [text[at : at + 96] for at in range(0, len(text), 96)]
        (GOLDEN / f"{name}.hex").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
