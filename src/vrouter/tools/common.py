# SPDX-License-Identifier: Apache-2.0
"""What every command shares: the argument parser, the way out, and the handling of errors.

Exit codes: 0 done (or nothing to do), 1 failed, 2 wrong usage, 3 refused, 4 vRouter not loaded,
130 interrupted, 141 the reader of our output went away. An error is one line on stderr:
`command: what is wrong; what would be right`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from vrouter import __version__
from vrouter.dpcore.errors import BadValue, NoSuchEntry, Refused, UsageError, VrouterError

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.instance import Instance

Json = dict[str, Any]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of descriptions and examples; a fixed width keeps man pages stable."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=96)


class ToolParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that names the nearest right word.

    Raises UsageError where argparse would print its usage and exit.
    """

    def __init__(self, prog: str, description: str = "", examples: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:\n{examples.rstrip()}" if examples else None,
            add_help=False,
            **kwargs,
        )
        self.examples = examples
        self._words: list[str] = []
        self.add_argument("-h", "--help", action="help", help="show this help and exit")

    def add_common(self, *, sub: bool = False, sock_dir: bool = False) -> None:
        """Add the options that every command has.

        `sub`: this is a sub-command, whose defaults must not undo what was said before its name.
        `sock_dir`: it has an option --sock-dir of its own; the others refuse upstream's.
        """
        unset = argparse.SUPPRESS if sub else None
        group = self.add_argument_group("common options")
        group.add_argument(
            "--name",
            metavar="INSTANCE",
            default=unset,
            help="vRouter instance to work on (default: $VROUTER_NAME, else the one that belongs "
            "to this network namespace, else 'vrouter')",
        )
        group.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS if sub else False,
            help="print JSON instead of text",
        )
        group.add_argument(
            "--version",
            action="version",
            version=f"{self.prog} (vrouter) {__version__}",
            help="show the version and exit",
        )
        if not sock_dir:
            group.add_argument("--sock-dir", action=Later, nargs=1, help=argparse.SUPPRESS)

    def option_strings(self) -> list[str]:
        """Every option of this parser and of its sub-commands, in order, without repeats."""
        found: dict[str, None] = {}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for sub in dict.fromkeys(action.choices.values()):
                    found.update(dict.fromkeys(sub.option_strings()))
            elif action.help != argparse.SUPPRESS:
                found.update(dict.fromkeys(action.option_strings))
        return list(found)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, extra = self.parse_known_args(args, namespace)
        if extra:
            self._unknown(extra[0])
        return parsed

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def _unknown(self, word: str) -> NoReturn:
        if word.startswith("-"):
            option = word.partition("=")[0]
            known = self.option_strings()
            if option in known:  # of another sub-command
                raise UsageError(f"{option} does not go with this command; leave it out")
            hint = nearest(option, known) or f"see {self.prog} --help"
            raise UsageError(f"unknown option {option}; {hint}")
        raise UsageError(f"'{word}' is one word too many; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        words = [str(choice) for choice in action.choices]
        hint = nearest(str(value), words)
        text = f"'{value}' is not one of {', '.join(words)}"
        raise argparse.ArgumentError(action, f"{text}; {hint}" if hint else text)

    def error(self, message: str) -> NoReturn:
        if "required" in message:
            self._check_words()
        raise UsageError(_plain(message, self.prog))

    def _check_words(self) -> None:
        """What argparse does not know, it minds only after it has missed what is required."""
        for word in self._words:
            option = word.partition("=")[0]
            if word.startswith("--") and not self._get_option_tuples(option):
                if option not in self._option_string_actions:
                    self._unknown(word)
        first = self._words[0] if self._words else "-"
        if not first.startswith("-") and f"--{first}" in self._option_string_actions:
            raise UsageError(f"'{first}' is no option; write --{first}")


class Later(argparse.Action):
    """An option of upstream's that does not exist yet: refused, never ignored."""

    why: ClassVar = {
        "--sock-dir": "this tool reads the tables themselves; --name chooses the instance",
        "--rate": "rates come with a later release; read the counters twice instead",
    }

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        name = option or self.dest
        raise Refused(f"{name} is refused: {self.why.get(name, 'it comes with a later release')}")


def _plain(message: str, prog: str) -> str:
    """argparse's message in our form: what is wrong; what would be right."""
    message = message.removeprefix("argument ")
    see = f"see {prog} --help"
    for words in (": expected one argument", ": expected 1 argument"):
        if message.endswith(words):
            return f"{message.removesuffix(words)} needs a value; {see}"
    if message.endswith(": expected at least one argument"):
        return f"{message.partition(':')[0]} needs at least one value; {see}"
    required = "the following arguments are required: "
    if message.startswith(required):
        return f"{message.removeprefix(required)} is missing; {see}"
    if message.startswith("one of the arguments ") and message.endswith(" is required"):
        words = message.removeprefix("one of the arguments ").removesuffix(" is required")
        return f"nothing to do; give one of {', '.join(words.split())}"
    if ": not allowed with argument " in message:
        first, _, second = message.partition(": not allowed with argument ")
        return f"{first} and {second} exclude each other; give one of them"
    if message.startswith("ambiguous option: "):
        first, _, second = message.removeprefix("ambiguous option: ").partition(" could match ")
        return f"{first} is ambiguous; did you mean {second.replace(', ', ' or ')}?"
    return message if ";" in message else f"{message}; {see}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or an empty string when nothing known is close to `word`."""
    import difflib  # noqa: PLC0415 - only needed on the way out; 5 ms

    bare = {one.lstrip("-"): one for one in known}  # dashes are no likeness
    found = difflib.get_close_matches(word.lstrip("-"), list(bare), n=1, cutoff=0.6)
    return f"did you mean {bare[found[0]]}?" if found else ""


Handler = Callable[[Any], int | None]


def run_tool(
    build: Callable[[], ToolParser], handler: Handler, argv: Sequence[str] | None = None
) -> int:
    """Parse `argv`, call `handler` with the result, turn every error into a line and a code."""
    _open_outputs()
    parser = build()
    try:
        code = handler(parser.parse_args(argv)) or EXIT_OK
        return _flush(parser.prog) or code
    except VrouterError as error:
        return _fail(parser.prog, str(error), error.exit_code)
    except BrokenPipeError:
        _drop_output()
        return EXIT_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except PermissionError as error:
        what = error.filename or "dp-core's maps"
        remedy = "run it as root"
        if os.geteuid() == 0:
            remedy = "root is not enough here: CAP_SYS_ADMIN, CAP_SYS_PTRACE or CAP_BPF is missing"
        return _fail(parser.prog, f"no permission for {what}; {remedy}", EXIT_FAILED)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        text = f"the system refused: {error.strerror or error}{where}; see `vrouter status`"
        return _fail(parser.prog, text, EXIT_FAILED)


def _open_outputs() -> None:
    """A caller may have closed our outputs; what is written there is lost, as it wished."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - open to the end


def _drop_output() -> None:
    """Else the interpreter complains again when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flush(prog: str) -> int:
    """Write what is still held back; a full disk is no fault of the vRouter."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        print(f"{prog}: cannot write the output: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _fail(prog: str, text: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    print(f"{prog}: {' '.join(text.split())}", file=sys.stderr)
    return code


def open_instance(args: Any) -> Instance:
    """The instance that `--name`, the environment or the namespace chooses.

    Only root sees what is loaded: to anybody else all would look as if nothing were.
    """
    from vrouter.dpcore import lock  # noqa: PLC0415 - keeps --help fast
    from vrouter.dpcore.instance import find_instance  # noqa: PLC0415 - the same

    def tell(text: str) -> None:
        print(f"{getattr(args, 'prog', 'vrouter')}: {text}", file=sys.stderr)

    lock.tell = tell
    try:
        instance = find_instance(args.name)
    except BadValue as error:
        raise UsageError(str(error)) from None
    if os.geteuid() != 0:
        raise Refused(f"only root can see the vRouter {instance.name!r}; run this as root")
    return instance


def open_core(args: Any, *, any_abi: bool = False) -> DpCore:
    """The opened tables of the chosen instance; NotLoaded if dp-core is not loaded, OtherAbi if
    its tables are of another version than we know (unless `any_abi`)."""
    from vrouter.dpcore.core import DpCore  # noqa: PLC0415 - keeps --help fast

    return DpCore.open(open_instance(args), any_abi=any_abi)


def emit_json(data: object) -> None:
    """Print `data` as indented JSON with keys in the order in which they were built."""
    import json  # noqa: PLC0415 - 15 ms that only --json pays

    print(json.dumps(data, indent=2))


def emit_lines(lines: Iterable[str]) -> None:
    """Print text line by line."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def report(args: Any, text: str, *, changed: bool) -> None:
    """Say in one line what a writing command did: `command: text`.

    With --json: `{"changed": bool, "message": text}`.
    """
    if getattr(args, "json", False):
        emit_json({"changed": changed, "message": text})
    else:
        print(f"{args.prog}: {text}")


T = TypeVar("T")


def counted(number: int, one: str, more: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{number} {one if number == 1 else more}"


def delete_entry(args: Any, table: str, key: int, what: str) -> None:
    """Remove `key` from a table of DpCore's and report it; `what` names the entry."""
    with open_core(args) as core, core.lock():
        entries: Any = getattr(core, table)
        if entries.get(key) is None:
            report(args, f"no {what}; nothing changed", changed=False)
            return
        entries.delete(key)
    report(args, f"deleted {what}", changed=True)


def all_or_one(
    items: Callable[[], Iterable[T]],
    get: Callable[[int], T | None],
    key: int | None,
    what: str,
    show_all: str,
) -> list[T]:
    """All entries of a table, or the one of `key`; NoSuchEntry says how to see all."""
    if key is None:
        return list(items())
    one = get(key)
    if one is None:
        raise NoSuchEntry(f"no {what} {key}; `{show_all}` shows all")
    return [one]


def missing_nexthop(core: DpCore, *ids: int) -> str:
    """What to add to a report when what was written leads to nexthops that do not exist."""
    lost = [str(id) for id in dict.fromkeys(ids) if core.nexthops.get(id) is None]
    return f" (no nexthop {', '.join(lost)} yet: such packets are dropped)" if lost else ""


def refuse_with(
    args: Any, action: str, names: Iterable[str], options: Mapping[str, str] | None = None
) -> None:
    """Raise UsageError if an option of `names` was given although `action` has no use for it.

    `options` gives the option of a name where that is not `--name`.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value is not False and value != []:
            option = (options or {}).get(name, "--" + name.replace("_", "-"))
            raise UsageError(f"{option} has no meaning with {action}; leave it out")
