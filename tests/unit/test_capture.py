# SPDX-License-Identifier: Apache-2.0
"""What the tests take for a right checksum in a capture."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from tests.system.capture import GOOD, decode, write_pcap

AT = 14 + 20  # the TCP header
CHECKSUM = slice(AT + 16, AT + 18)
DATA = slice(AT + 20, AT + 22)


def frame_that_sums_to_zero() -> bytearray:
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    frame = bytearray(bytes(ether / IP(src="10.0.0.1", dst="10.0.0.2") / TCP() / Raw(bytes(2))))
    frame[DATA] = frame[CHECKSUM]
    frame[CHECKSUM] = bytes(2)
    return frame


@pytest.mark.parametrize(
    ("written", "right"),
    [("0000", True), ("ffff", True), ("0001", False), ("fffe", False)],
)
def test_both_zeros_are_right(written: str, right: bool, tmp_path: Path) -> None:
    frame = frame_that_sums_to_zero()
    frame[CHECKSUM] = bytes.fromhex(written)
    write_pcap(tmp_path / "one.pcap", [bytes(frame)])
    (row,) = decode(tmp_path / "one.pcap", ["tcp.checksum.status", "tcp.len"])
    assert (row["tcp.checksum.status"] == [GOOD], row["tcp.len"]) == (right, ["2"])


def test_the_other_zero_is_wrong_where_the_sum_is_not_zero(tmp_path: Path) -> None:
    frame = frame_that_sums_to_zero()
    frame[DATA] = bytes(2)
    frame[CHECKSUM] = b"\xff\xff"
    write_pcap(tmp_path / "one.pcap", [bytes(frame)])
    (row,) = decode(tmp_path / "one.pcap", ["tcp.checksum.status"])
    assert row["tcp.checksum.status"] != [GOOD]


@pytest.mark.parametrize("port", [1883, 48898])
def test_what_tcp_carries_is_not_taken_for_a_protocol(port: int, tmp_path: Path) -> None:
    """MQTT and ADS/AMS have these ports: a client that gets one speaks neither."""
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    ports = TCP(sport=port, dport=5201, flags="A")
    load = Raw(bytes(range(1, 101)))
    write_pcap(
        tmp_path / "one.pcap", [bytes(ether / IP(src="10.0.0.1", dst="10.0.0.2") / ports / load)]
    )
    (row,) = decode(tmp_path / "one.pcap", ["tcp.len", "frame.protocols"])
    assert (row["tcp.len"], row["frame.protocols"]) == (["100"], ["eth:ethertype:ip:tcp:data"])
