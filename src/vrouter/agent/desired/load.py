# SPDX-License-Identifier: Apache-2.0
"""A TOML file, or any mapping, as records: every wrong key is found, not just the first.

The file has an array of tables for each kind: `[[network]]`, `[[interface]]`, ...
"""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from vrouter.agent.desired.records import KINDS, Record
from vrouter.agent.facade import Problem, Rejected

# keys that upstream has and we shall have, by what they are about
_LATER = {
    "security_group": "security groups",
    "security_groups": "security groups",
    "policy": "network policies",
    "policies": "network policies",
    "floating_ip": "floating addresses",
    "floating_ips": "floating addresses",
    "nat": "address translation",
    "service_chain": "service chains",
    "service_instance": "service chains",
    "mirror": "mirrors",
    "qos": "quality of service",
    "bgp": "BGP",
}
_CONTEXT = " - at `$"  # msgspec says where; the path is ours


def read_file(path: Path) -> list[Record]:
    """The records of a file, by kind in the order of `KINDS`. Raises Rejected with all problems."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Rejected([Problem(str(path), error.strerror or str(error))]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Rejected([Problem(str(path), f"this is not TOML: {error}")]) from None
    return read(data)


def read(data: Mapping[str, Any]) -> list[Record]:
    """The records of {kind: [object, ...]}. Raises Rejected with all problems."""
    problems: list[Problem] = []
    records: list[Record] = []
    for key in data:
        if key not in KINDS:
            problems.append(Problem(key, _unknown(key, list(KINDS))))
    for kind, struct in KINDS.items():
        objects = data.get(kind, [])
        if not isinstance(objects, list):
            problems.append(Problem(kind, f"expected an array of tables: write [[{kind}]]"))
            continue
        for number, one in enumerate(objects):
            made = _struct(one, struct, f"{kind}[{number}]", problems)
            if made is not None:
                records.append(made)
    if problems:
        raise Rejected(problems)
    return records


def read_object(kind: str, data: Any) -> Record:
    """One object of `kind`. Raises Rejected; paths begin with the kind."""
    struct = KINDS.get(kind)
    if struct is None:
        raise Rejected([Problem(kind, _unknown(kind, list(KINDS)))])
    problems: list[Problem] = []
    made = _struct(data, struct, kind, problems)
    if made is None:
        raise Rejected(problems)
    return typing.cast(Record, made)


def _unknown(key: str, known: list[str]) -> str:
    if key in _LATER:
        return f"{_LATER[key]} come later: leave it out"
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}" if near else f"there are: {', '.join(known)}"
    return f"there is no such key; {hint}"


def _struct(data: Any, struct: Any, path: str, problems: list[Problem]) -> Any:
    """`data` as `struct`; None, and what is wrong in `problems`, if it is none."""
    if not isinstance(data, Mapping):
        problems.append(Problem(path, "expected a table of keys and values"))
        return None
    before = len(problems)
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    hints = typing.get_type_hints(struct)
    for key in data:
        if key not in fields:
            problems.append(Problem(f"{path}.{key}", _unknown(str(key), list(fields))))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _value(data[name], hints[name], f"{path}.{name}", problems)
        elif field.required:
            problems.append(Problem(f"{path}.{name}", "is missing"))
    return None if len(problems) > before else struct(**values)


def _value(data: Any, kind: Any, path: str, problems: list[Problem]) -> Any:
    item = _item_of(kind)
    if item is not None and isinstance(data, list | tuple):
        return tuple(
            _value(one, item, f"{path}[{number}]", problems) for number, one in enumerate(data)
        )
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(data, kind, path, problems)
    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        problems.append(Problem(path, _lower(str(error).partition(_CONTEXT)[0])))
        return None


def _item_of(kind: Any) -> Any:
    """X of tuple[X, ...], else None."""
    if isinstance(kind, types.GenericAlias) and typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0]
    return None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
