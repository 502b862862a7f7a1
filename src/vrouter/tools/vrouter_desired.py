# SPDX-License-Identifier: Apache-2.0
"""`vrouter apply`, `get` and `delete`: the desired state of the agent, by its unix socket."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vrouter.api.paths import socket_path
from vrouter.dpcore.errors import Refused, UsageError, VrouterError
from vrouter.dpcore.instance import find_instance
from vrouter.tools.common import EXIT_OK, emit_json, emit_lines, report

KINDS = (
    "network",
    "interface",
    "host",
    "endpoint",
    "membership",
    "route",
    "link-local",
    "gateway",
    "bfd",
)
_REFUSED = 3
_COLUMNS: dict[str, tuple[str, ...]] = {
    "network": ("vni", "forwarding", "subnets"),
    "interface": ("network", "device", "mac", "addresses", "vm"),
    "host": ("address", "encapsulations"),
    "endpoint": ("network", "host", "mac", "addresses"),
    "membership": ("network", "host", "flood_label"),
    "route": ("network", "prefix", "next_hop", "host"),
    "link-local": ("address", "port", "target", "target_port", "metadata"),
    "gateway": ("network", "device", "subnets", "routes"),
    "bfd": ("interface", "peer", "min_tx", "min_rx", "multiplier"),
}
_LIVE = ("interface", "bfd")  # kinds whose objects have a state


def add_arguments(commands: Any, command: Callable[..., Any]) -> None:
    """Add the three commands."""
    text = "make a TOML file the desired state, whole or not at all; --dry-run says what it changes"
    apply = command(commands, "apply", text, _apply)
    apply.add_argument("file", type=Path, metavar="FILE", help="the file; - reads standard input")
    apply.add_argument("--dry-run", action="store_true", help="change nothing, say what would be")
    get = command(commands, "get", "show objects of the desired state", _get)
    get.add_argument("kind", choices=KINDS, metavar="KIND", help=f"one of {', '.join(KINDS)}")
    get.add_argument("object", nargs="?", metavar="NAME", help="only that one, with all it has")
    delete = command(commands, "delete", "remove an object of the desired state", _delete)
    delete.add_argument("kind", choices=KINDS, metavar="KIND", help=f"one of {', '.join(KINDS)}")
    delete.add_argument("object", metavar="NAME", help="its name")


def ask(args: argparse.Namespace, method: str, url: str, body: object = None) -> tuple[int, Any]:
    """The agent's answer. Raises Refused when there is no agent."""
    from vrouter.api import client  # noqa: PLC0415 - json and socket: only these need them

    instance = find_instance(args.name)
    path = str(socket_path(instance.run_dir))
    try:
        return client.call(path, method, url, body)
    except client.NoAgent as error:
        raise Refused(
            f"the agent of vRouter {instance.name!r} does not answer ({error}): start it, or name "
            "another instance with --name"
        ) from None


def _checked(status: int, answer: Any) -> Any:
    """The answer, if it is one. Raises Refused with what the agent says."""
    if status == 200:
        return answer
    why = answer.get("error", "") if isinstance(answer, dict) else str(answer)
    error = Refused if 400 <= status < 500 or status in (503, 507) else VrouterError
    raise error(why or f"the agent answered with status {status}")


def _apply(args: argparse.Namespace) -> int:
    url = "/v1/apply?dry_run=1" if args.dry_run else "/v1/apply"
    status, answer = ask(args, "POST", url, _read(args.file))
    if status == 422 and isinstance(answer, dict):
        return _show_problems(args, answer.get("problems", []))
    outcome = _checked(status, answer)
    if args.json:
        emit_json(outcome)
        return EXIT_OK
    verbs = {"added": "add", "changed": "change", "removed": "remove"}
    lines = []
    for what, verb in verbs.items():
        did = f"would {verb}" if args.dry_run else what
        lines += [f"{args.prog} apply: {did} {one['kind']} {one['name']}" for one in outcome[what]]
    emit_lines(lines or [f"{args.prog} apply: {args.file} is what there is; nothing changed"])
    return EXIT_OK


def _read(path: Path) -> Any:
    """The file as JSON can carry it. Raises UsageError."""
    import tomllib  # noqa: PLC0415 - only apply needs it

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        return _plain(tomllib.loads(text))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    # dates and infinities: the agent names the key
    return value if isinstance(value, str | int) else str(value)


def _show_problems(args: argparse.Namespace, problems: list[dict[str, str]]) -> int:
    if args.json:
        emit_json({"problems": problems})
    for one in problems:
        where = f"{one['path']}: " if one["path"] else ""
        print(f"{args.prog}: {args.file}: {where}{one['why']}", file=sys.stderr)
    print(f"{args.prog}: {args.file} is refused; nothing changed", file=sys.stderr)
    return _REFUSED


def _get(args: argparse.Namespace) -> None:
    if args.object is not None:
        one = _checked(*ask(args, "GET", f"/v1/{args.kind}/{quote(args.object)}?state=1"))
        if args.json:
            emit_json(one)
        else:
            emit_lines(_details(one))
        return
    found = _checked(*ask(args, "GET", f"/v1/{args.kind}?state=1"))
    if args.json:
        emit_json(found)
    else:
        emit_lines(_table(args.kind, found))


def _table(kind: str, found: list[dict[str, Any]]) -> Iterator[str]:
    columns = _COLUMNS[kind]
    rows = [["NAME", *(one.upper() for one in columns), "SOURCE"]]
    rows[0] += ["STATE"] if kind in _LIVE else []
    for one in found:
        record = one["record"]
        row = [record["name"], *(_cell(record.get(key)) for key in columns), one["source"] or "-"]
        rows.append([*row, _state(one["state"])] if kind in _LIVE else row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(
            f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_cell(one) for one in value) or "-"
    if isinstance(value, dict):
        return str(value.get("prefix", value))
    return "-" if value in (None, "") else str(value)


def _state(state: dict[str, Any] | None) -> str:
    if state is None:
        return "unknown"
    if "active" not in state:
        return f"{state['state']}: {state['why']}" if state["why"] else str(state["state"])
    return f"active, vif0/{state['vif']}" if state["active"] else f"waiting: {state['why']}"


def _details(one: dict[str, Any]) -> Iterator[str]:
    for key, value in one["record"].items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for number, part in enumerate(value):
                for inner, text in part.items():
                    yield f"{f'{key}[{number}].{inner}':<28}{_cell(text)}"
        else:
            yield f"{key:<28}{_cell(value)}"
    yield f"{'source':<28}{one['source'] or '-'}"
    if one["state"] is not None:
        yield f"{'state':<28}{_state(one['state'])}"
        for key in ("vrf", "label", "l2_label", "local", "seconds"):
            if key in one["state"]:
                yield f"{key:<28}{_cell(one['state'][key])}"


def _delete(args: argparse.Namespace) -> None:
    status, answer = ask(args, "DELETE", f"/v1/{args.kind}/{quote(args.object)}")
    what = f"{args.kind} {args.object}"
    if status == 404:
        report(args, f"there is no {what}; nothing changed", changed=False)
        return
    _checked(status, answer)
    report(args, f"deleted {what}", changed=True)
