# SPDX-License-Identifier: Apache-2.0
"""Records of the desired state from what a file or a client gives: every mistake, not the first.

What the records mean together is for the agent to check; here it is their shape: unknown keys,
missing ones, wrong types.
"""

from __future__ import annotations

import difflib
import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec

from vrouter.agent.desired.records import KINDS, Record
from vrouter.agent.facade import Problem

R = TypeVar("R", bound=Record)
MAX_TEXT = 255
_MAX_PROBLEMS = 100


def records(data: object) -> tuple[list[Record], list[Problem]]:
    """All records of {kind: [record, ...]}; empty when there are problems."""
    if not isinstance(data, dict):
        return [], [Problem("", f"expected an object of kinds, got {_kind_of(data)}")]
    found: list[Record] = []
    problems: list[Problem] = []
    for kind, entries in data.items():
        if kind not in KINDS:
            problems.append(Problem(_text(kind), _unknown(kind, KINDS)))
        elif not isinstance(entries, list):
            problems.append(Problem(kind, f"expected a list of tables, got {_kind_of(entries)}"))
        else:
            found += _entries(KINDS[kind], entries, problems)
    return ([] if problems else found), problems[:_MAX_PROBLEMS]


def _entries(kind: type[R], entries: list[Any], problems: list[Problem]) -> Iterator[R]:
    names: dict[str, int] = {}
    for number, entry in enumerate(entries):
        path = f"{kind.kind}[{number}]"
        wrong = list(_struct(kind, entry, path))
        problems += wrong
        if wrong:
            continue
        one = msgspec.convert(entry, kind)
        if one.name in names:
            first = f"{kind.kind}[{names[one.name]}]"
            problems.append(Problem(f"{path}.name", f"{one.name!r} is the name of {first} too"))
        names.setdefault(one.name, number)
        yield one


def record(kind: type[R], data: object, name: str) -> tuple[R | None, list[Problem]]:
    """One record, whose `name` may be left out of `data` and must not differ."""
    if isinstance(data, dict):
        data = {"name": name, **data}
        if data["name"] != name:
            return None, [Problem("name", f"the path says {name!r}; names do not change")]
    problems = list(_struct(kind, data, ""))
    return (None, problems[:_MAX_PROBLEMS]) if problems else (msgspec.convert(data, kind), [])


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _struct(kind: type[msgspec.Struct], data: object, path: str) -> Iterator[Problem]:
    if not isinstance(data, dict):
        yield Problem(path, f"expected a table, got {_kind_of(data)}")
        return
    fields = _fields(kind)
    for key, value in data.items():
        where = f"{path}.{_text(key)}" if path else _text(key)
        if key not in fields:
            yield Problem(where, _unknown(key, fields))
        else:
            yield from _value(fields[key].type, value, where)
    for key, field in fields.items():
        if field.required and key not in data:
            yield Problem(f"{path}.{key}" if path else key, "is missing")


def _value(kind: Any, value: object, path: str) -> Iterator[Problem]:
    item = get_args(kind)[0] if get_origin(kind) is tuple else None
    if item is not None and isinstance(value, list):
        for number, one in enumerate(value):
            yield from _value(item, one, f"{path}[{number}]")
        return
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _struct(kind, value, path)
        return
    if item is not None:
        yield Problem(path, f"expected a list, got {_kind_of(value)}")
        return
    yield from _leaf(kind, value, path)


def _leaf(kind: Any, value: object, path: str) -> Iterator[Problem]:
    if isinstance(value, str) and (why := bad_text(value)):
        yield Problem(path, why)
        return
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield Problem(path, "the number is out of range")
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield Problem(path, str(error).replace("`", "").replace("Expected", "expected"))


def bad_text(value: str) -> str:
    """Why `value` cannot be a text of a record; "" when it can."""
    if len(value) > MAX_TEXT:
        return f"the text is longer than {MAX_TEXT} characters"
    return "" if value.isprintable() else "the text has characters that cannot be printed"


def _unknown(key: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(_text(key), list(known), n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"known are: {', '.join(known)}"
    return f"unknown key; {hint}"


def _text(key: object) -> str:
    text = str(key)[:60]
    return text if text.isprintable() else repr(text)


_JSON_NAMES: Mapping[type, str] = {
    dict: "a table",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    types.NoneType: "null",
}


def _kind_of(value: object) -> str:
    return _JSON_NAMES.get(cast(type, type(value)), type(value).__name__)
