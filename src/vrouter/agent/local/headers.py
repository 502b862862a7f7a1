# SPDX-License-Identifier: Apache-2.0
"""Which headers of a VM go to Nova, and what is said there of the VM."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from vrouter.agent.desired.records import Interface
from vrouter.dpcore.records import IPAddress

Headers = list[tuple[bytes, bytes]]
# RFC 9110, section 7.6.1: of one connection only; h11 makes those of the other one
_HOP = frozenset(
    (
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# what Nova believes: nobody but the agent says it
_OURS = (b"x-forwarded", b"x-instance", b"x-tenant", b"x-metadata", b"forwarded")


def _plain(name: bytes) -> bytes:
    """As Nova sees it: WSGI makes no difference between "_" and "-"."""
    return name.lower().replace(b"_", b"-")


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Without those of the connection alone, and those that `Connection` names."""
    there = list(headers)
    named = {
        word.strip().lower()
        for name, value in there
        if name.lower() == b"connection"
        for word in value.split(b",")
    }
    return [
        (name, value)
        for name, value in there
        if name.lower() not in _HOP and name.lower() not in named
    ]


def of_request(headers: Iterable[tuple[bytes, bytes]], length: int) -> Headers:
    """What a VM has sent, but for what it has no business to say; `length`: of its body."""
    kept = [
        (name, value)
        for name, value in end_to_end(headers)
        if not _plain(name).startswith(_OURS) and _plain(name) != b"content-length"
    ]
    if length:
        kept.append((b"Content-Length", str(length).encode()))
    return [*kept, (b"Connection", b"close")]


def of_instance(interface: Interface, address: IPAddress, secret: bytes) -> Headers:
    """Who asks; of whom a link-local address is known, by his own one. The signature is HMAC-SHA256
    of the instance's id, in hex digits; Keystone's ids of projects have no dashes."""
    own = interface.addresses[0] if address.is_link_local and interface.addresses else address
    found = [
        (b"X-Forwarded-For", str(own).encode()),
        (b"X-Instance-ID", interface.vm_uuid.encode()),
    ]
    if interface.project:
        found.append((b"X-Tenant-ID", interface.project.replace("-", "").encode()))
    if secret:
        signature = hmac.new(secret, interface.vm_uuid.encode(), hashlib.sha256).hexdigest()
        found.append((b"X-Instance-ID-Signature", signature.encode()))
    return found
