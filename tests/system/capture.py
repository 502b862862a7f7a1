# SPDX-License-Identifier: Apache-2.0
"""Frames as tshark decodes them."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_TCP_SUMS = ("tcp.checksum", "tcp.checksum_calculated")
# what TCP carries is nobody's protocol: a client's port may be one that tshark knows
_PLAIN_TCP = "tcp.port==1-65535,data"
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
    """The values of `fields` in each packet of a capture file, outermost first.

    `tcp.checksum.status` is good also where the other zero stands: 0xffff is 0 in ones' complement
    (RFC 1071), every receiver takes it, and Linux writes it where the sum of a packet that was not
    cut comes to 0 (`skb_checksum_help`): one in 65,536. tshark calls it bad (RFC 1624).
    """
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=a"]
    command += ["-E", "aggregator=|", "-E", "separator=/t"]
    for check in _CHECKS:
        command += ["-o", f"{check}:TRUE"]
    for rule in (*decode_as, _PLAIN_TCP):
        command += ["-d", rule]
    for field in [*fields, *_TCP_SUMS]:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = []
    for line in done.stdout.splitlines():
        *values, written, calculated = (
            text.split("|") if text else [] for text in line.split("\t")
        )
        row = dict(zip(fields, values, strict=True))
        if "tcp.checksum.status" in row and (written, calculated) == (["0xffff"], ["0x0000"]):
            row["tcp.checksum.status"] = [GOOD]
        found.append(row)
    return found
