# SPDX-License-Identifier: Apache-2.0
"""The control protocol of upstream's vRouter: its messages, a door that serves them, a client."""

from __future__ import annotations

from .client import Client
from .codec import Malformed, Message
from .errors import SandeshError
from .schema import ADD, DEL, DUMP, GET, RESET

__all__ = [
    "ADD",
    "DEL",
    "DUMP",
    "GET",
    "RESET",
    "Client",
    "Malformed",
    "Message",
    "SandeshError",
]
