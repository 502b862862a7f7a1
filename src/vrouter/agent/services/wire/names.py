# SPDX-License-Identifier: Apache-2.0
"""Domain names as lists of labels (RFC 1035, section 3.1), uncompressed."""

from __future__ import annotations


def encode(name: str) -> bytes:
    """The labels of a name and the root. b"" for what is no name (empty, or too long)."""
    try:
        labels = [label.encode("ascii") for label in name.strip(".").split(".")]
    except UnicodeEncodeError:
        return b""
    if not all(0 < len(label) < 64 for label in labels):
        return b""
    data = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return data if len(data) <= 255 else b""
