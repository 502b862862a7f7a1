# SPDX-License-Identifier: Apache-2.0
"""HTTP to the agent by its unix socket, as little as it takes: quick to import.

One request, one connection. `http.client` would cost 25 ms.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

RUN = "/run/vrouter"


class NoAgent(Exception):  # noqa: N818 - it says what happened
    """Nobody answers at the socket."""


def find_socket(name: str) -> str:
    """The socket of the agent of instance `name`; that of process 1's mount namespace if ours
    does not show it."""
    path = f"{RUN}/{name}/api.sock"
    there = f"/proc/1/root{path}"
    return there if not os.path.exists(path) and os.path.exists(there) else path


def call(
    path: str, method: str, url: str, body: object = None, timeout: float = 60.0
) -> tuple[int, Any]:
    """(status, JSON) of a request to the socket `path`; what is no JSON comes as text.

    Raises NoAgent when nobody listens there, or went away before the answer ended.
    """
    data = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(path)
            sock.sendall(head.encode("latin-1") + data)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
    except TimeoutError:
        raise NoAgent(f"no answer from {path} within {timeout:g} s") from None
    except OSError as error:
        raise NoAgent(f"{path}: {error.strerror or error}") from None
    return _parse(answer, path)


def _parse(answer: bytes, path: str) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    words = lines[0].split()
    headers = dict(line.lower().split(b":", 1) for line in lines[1:] if b":" in line)
    if len(words) < 2 or not words[1].isdigit():
        raise NoAgent(f"{path}: the answer is no HTTP")
    if len(body) != int(headers.get(b"content-length", b"-1")):
        raise NoAgent(f"{path}: the answer ended too early")
    text = body.decode("utf-8", "replace")
    try:
        return int(words[1]), json.loads(text)
    except ValueError:
        return int(words[1]), text.strip()
