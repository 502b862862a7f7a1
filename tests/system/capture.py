# SPDX-License-Identifier: Apache-2.0
"""Frames as tshark decodes them."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_CHECKS = ("ip.check_checksum", "udp.check_checksum", "tcp.check_checksum")
GOOD, UNVERIFIED, NOT_PRESENT = "1", "2", "3"  # tshark's *.checksum.status

Fields = dict[str, list[str]]


def write_pcap(path: Path, frames: Iterable[bytes]) -> None:
    """A capture file (LINKTYPE_ETHERNET); all at time 0."""
    with path.open("wb") as out:
        out.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1))
        for frame in frames:
            out.write(struct.pack("=IIII", 0, 0, len(frame), len(frame)) + frame)


def decode(
    path: Path, fields: Sequence[str], decode_as: Sequence[str] = ("udp.port==6635,mpls",)
) -> list[Fields]:
    """The values of `fields` in each packet of a capture file, outermost first."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=a"]
    command += ["-E", "aggregator=|", "-E", "separator=/t"]
    for check in _CHECKS:
        command += ["-o", f"{check}:TRUE"]
    for rule in decode_as:
        command += ["-d", rule]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [
        {field: value.split("|") if value else [] for field, value in zip(fields, row, strict=True)}
        for row in rows
    ]
