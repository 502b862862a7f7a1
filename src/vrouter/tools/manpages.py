# SPDX-License-Identifier: Apache-2.0
"""Writes the man pages and the bash completion from the parsers of the commands.

`python -m vrouter.tools.manpages` writes them, with --check it names those that are stale. What
a parser cannot say (JSON keys, files) stands in `manual_prose`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vrouter.tools.common import ToolParser
from vrouter.tools.manual_prose import COMMON, PURPOSES, SECTIONS

COMMANDS = (
    "dropstats",
    "mirror",
    "mpls",
    "nh",
    "qosmap",
    "rt",
    "vif",
    "vrfstats",
    "vrinfo",
    "vrmemstats",
    "vrouter",
    "vrouter-port-control",
    "vxlan",
)
DATA = Path(__file__).resolve().parent.parent / "data"
COMPLETION = DATA / "completion" / "vrouter.bash"


def parser_of(command: str) -> ToolParser:
    """The parser of one of the commands."""
    module = f"vrouter.tools.{command.replace('-', '_')}"
    parser: ToolParser = importlib.import_module(module).build_parser()
    return parser


def escape(text: str) -> str:
    """Text for roff: backslashes, dashes, and dots and quotes at the start of a line."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in lines)


def man_page(command: str) -> str:
    """The man page of a command, in roff."""
    return "\n".join(_page(command, parser_of(command))) + "\n"


def _page(command: str, parser: ToolParser) -> Iterator[str]:
    yield '.\\" Written by vrouter.tools.manpages from the parser; change that, not this.'
    yield f'.TH {command.upper()} 1 "" "vrouter" "vRouter commands"'
    yield ".SH NAME"
    yield f"{command} \\- {escape(PURPOSES[command])}"
    yield ".SH SYNOPSIS"
    yield f".B {command}"
    yield "[\\fIOPTION\\fR]..." if command != "vrouter" else "\\fICOMMAND\\fR [\\fIOPTION\\fR]..."
    yield ".SH DESCRIPTION"
    yield escape(parser.description or "")
    yield ".SH OPTIONS"
    yield from _options(parser)
    for name, sub in subcommands(parser):
        yield f".SS {escape(f'{command} {name}')}"
        yield escape(sub.description or "")
        yield from _options(sub)
    for title, text in (*SECTIONS.get(command, ()), *COMMON):
        yield f".SH {title}"
        yield from _paragraphs(text)
    if parser.examples:
        yield ".SH EXAMPLES"
        yield ".nf"
        yield escape(parser.examples.rstrip())
        yield ".fi"
    yield ".SH SEE ALSO"
    others = [f"\\fB{name}\\fR(1)" for name in COMMANDS if name != command]
    yield ",\n".join(others)


def subcommands(parser: argparse.ArgumentParser, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every sub-command with its full name, depth first."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                sub.description = sub.description or texts.get(name, "")
                full = f"{before} {name}".strip()
                yield full, sub
                yield from subcommands(sub, full)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        yield ".TP"
        yield _option_head(action)
        yield escape((action.help or "").replace("%%", "%"))


def _option_head(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        metavar = action.metavar
        if metavar is None and action.choices is not None:
            metavar = "|".join(str(choice) for choice in action.choices)
        text = metavar if isinstance(metavar, str) else action.dest.upper()
        value = f"\\fI{escape(text)}\\fR"
    if not action.option_strings:
        return value or f"\\fI{escape(action.dest)}\\fR"
    names = ", ".join(f"\\fB{escape(name)}\\fR" for name in action.option_strings)
    return f"{names} {value}".rstrip()


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs are divided by blank lines; `word: text` lines with a tab become entries."""
    for number, block in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        for line in block.splitlines():
            head, tab, tail = line.partition("\t")
            if tab:
                yield ".TP"
                yield f"\\fB{escape(head)}\\fR"
                yield escape(tail)
            else:
                yield escape(line)


def completion() -> str:
    """The bash completion of all commands."""
    return "\n".join(_completion()) + "\n"


def _completion() -> Iterator[str]:
    yield "# SPDX-License-Identifier: Apache-2.0"
    yield "# Bash completion of the vRouter commands."
    yield "# Written by vrouter.tools.manpages from the parsers; change those, not this."
    yield "_vrouter_words() {"
    yield '    case "$1" in'
    for command in COMMANDS:
        for path, parser in [("", parser_of(command)), *subcommands(parser_of(command))]:
            yield f'    "{f"{command} {path}".strip()}") echo "{" ".join(_words(parser))}" ;;'
    yield "    esac"
    yield "}"
    yield "_vrouter_values() {"
    yield '    case "$1" in'
    for command in COMMANDS:
        for key, values in _values(command):
            yield f'    "{key}") echo "{values}" ;;'
    yield "    esac"
    yield "}"
    yield _COMPLETION_FUNCTION.strip()
    yield f"complete -F _vrouter_complete {' '.join(COMMANDS)}"


_COMPLETION_FUNCTION = """
_vrouter_complete() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}"
    local path="${COMP_WORDS[0]##*/}" words word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        if [[ $word != -* && -n "$(_vrouter_words "$path $word")" ]]; then
            path="$path $word"
        fi
    done
    words="$(_vrouter_values "$path $previous")"
    if [[ -z $words && ( $previous == --physical || $previous == --add ) ]]; then
        words="$(command ls /sys/class/net 2>/dev/null)"
    fi
    [[ -n $words ]] || words="$(_vrouter_words "$path")"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
"""


def _words(parser: argparse.ArgumentParser) -> list[str]:
    words: list[str] = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        if isinstance(action, argparse._SubParsersAction):
            words += list(action.choices)
        words += action.option_strings
    return words


def _values(command: str) -> Iterator[tuple[str, str]]:
    parser = parser_of(command)
    for path, one in [("", parser), *subcommands(parser)]:
        for action in one._actions:
            if action.choices is None or isinstance(action, argparse._SubParsersAction):
                continue
            values = " ".join(str(choice) for choice in action.choices)
            for option in action.option_strings:
                yield f"{command} {path} {option}".replace("  ", " "), values


def pages() -> dict[Path, str]:
    """Every file that is generated, with its text."""
    found = {DATA / "man" / f"{command}.1": man_page(command) for command in COMMANDS}
    return {**found, COMPLETION: completion()}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files; with --check only name those that differ (exit code 1)."""
    check = "--check" in (sys.argv[1:] if argv is None else argv)
    stale = [
        path for path, text in pages().items() if not path.exists() or path.read_text() != text
    ]
    for path in stale:
        print(f"{'stale' if check else 'writing'}: {path}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
