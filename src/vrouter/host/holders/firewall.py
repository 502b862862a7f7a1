# SPDX-License-Identifier: Apache-2.0
"""Firewall rules that name the NIC: packets for the host come in by vhost0 afterwards."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from vrouter.host.holders.finding import Finding

_SECONDS = 10
_LEGACY = {
    "iptables": Path("/proc/thread-self/net/ip_tables_names"),
    "ip6tables": Path("/proc/thread-self/net/ip6_tables_names"),
}
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def find(name: str) -> list[Finding]:
    """The rules of nft and of both kinds of iptables in the thread's network namespace."""
    found = [*_nft(name), *_legacy(name)]
    remedy = f"make it name vhost0, or both: iifname {{ {name}, vhost0 }}"
    return [Finding("firewall", text, remedy, True) for text in found]


def _nft(name: str) -> Iterator[str]:
    """iptables-nft's rules are among them."""
    where: list[str] = []
    for line in _output("nft", "list", "ruleset"):
        text = line.strip()
        if text.endswith("{"):
            where.append(text.removesuffix("{").strip())
        elif text == "}":
            where = where[:-1]
        elif names(text, name):
            yield f"nft {', '.join(where)}: {text}"


def _legacy(name: str) -> Iterator[str]:
    for tool, tables in _LEGACY.items():
        try:
            used = tables.read_text(encoding="ascii").split()
        except OSError:
            continue
        for table in used:
            for line in _output(f"{tool}-legacy-save", "-t", table):
                if line.startswith("-A") and names(line, name):
                    yield f"{tool} table {table}: {line.strip()}"


def names(text: str, name: str) -> bool:
    """Whether a line names the device, as a word of its own."""
    return re.search(rf"(?<![\w.:@/-]){re.escape(name)}(?![\w.:@/-])", text) is not None


def _output(tool: str, *args: str) -> list[str]:
    path = shutil.which(tool, path=_PATH)
    if path is None:
        return []
    try:
        done = subprocess.run(
            [path, *args], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return []
    return done.stdout.splitlines()
