# SPDX-License-Identifier: Apache-2.0
"""The messages of the control protocol, read from the table messages.txt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

ADD, GET, DEL, DUMP, RESPONSE, RESET = range(6)
"""Values of a sandesh_op, the field h_op."""
FLOW_SET, FLOW_LIST, FLOW_TABLE_GET = range(3)
"""Values of a flow_op."""

STOP: Final = 0
STRING: Final = 11
LIST: Final = 15
INTEGERS: Final = {
    "byte": (3, "b"),
    "i16": (6, "h"),
    "u16": (19, "H"),
    "i32": (8, "i"),
    "u32": (20, "I"),
    "i64": (10, "q"),
    "u64": (9, "Q"),
    "sandesh_op": (8, "i"),
    "flow_op": (8, "i"),
}
"""Type code on the wire and struct code (big endian) of every type of an integer."""
SIZES: Final = {"b": 1, "h": 2, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8}


@dataclass(frozen=True, slots=True)
class Field:
    """One field. code: its type on the wire; element: type name of the elements of a list."""

    id: int
    name: str
    type: str
    code: int
    element: str | None = None

    @property
    def default(self) -> Any:
        """What a field that is not there stands for."""
        if self.type == "string":
            return ""
        if self.type != "list":
            return 0
        return b"" if self.element == "byte" else ()


@dataclass(frozen=True, slots=True)
class Schema:
    """A message: its fields in the order of the IDL, in which they are written."""

    name: str
    fields: tuple[Field, ...]
    by_id: dict[int, Field]
    defaults: dict[str, Any]


def parse(text: str) -> dict[str, Schema]:
    """The schemas that a table of the form of messages.txt describes, by name."""
    found: dict[str, list[Field]] = {}
    fields: list[Field] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not line.startswith(" "):
            fields = found[words[0]] = []
            continue
        kind = words[1]
        code = {"string": STRING, "list": LIST}.get(kind) or INTEGERS[kind][0]
        element = words[2] if kind == "list" else None
        fields.append(Field(int(words[0]), words[-1], kind, code, element))
    return {
        name: Schema(
            name,
            tuple(fields),
            {field.id: field for field in fields},
            {field.name: field.default for field in fields},
        )
        for name, fields in found.items()
    }


@cache
def schemas() -> dict[str, Schema]:
    """All messages by name."""
    text = files("vrouter.sandesh").joinpath("messages.txt").read_text(encoding="ascii")
    return parse(text)
