# SPDX-License-Identifier: Apache-2.0
"""The sections [tcp] and [metadata] of the agent's configuration."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec

from vrouter.dpcore.errors import BadValue, Refused


class TcpConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Connections that VMs may have to the services of the kernel's TCP, of a port and in all."""

    connections_per_port: int = 64
    connections: int = 4096


class MetadataConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the metadata service speaks to Nova. secret_file: holds the shared secret ("" : the
    instance's id is not signed). tls: by HTTPS; ca_file: who may sign Nova's certificate ("" :
    the system's). timeout: seconds that Nova may take to begin an answer."""

    secret_file: str = ""
    tls: bool = False
    ca_file: str = ""
    timeout: float = 30.0


def check(tcp: TcpConfig, metadata: MetadataConfig) -> None:
    """Raises BadValue, Refused."""
    if not 0 < tcp.connections_per_port <= tcp.connections:
        raise BadValue(
            "tcp", "connections_per_port", "it is 1 or more, and not above `connections`"
        )
    if metadata.timeout <= 0:
        raise BadValue("metadata", "timeout", "seconds, above 0")
    read_secret(metadata)
    tls_context(metadata)


def read_secret(metadata: MetadataConfig) -> bytes:
    """The shared secret, b"" for none; white space around it is none of it. Raises Refused."""
    if not metadata.secret_file:
        return b""
    try:
        secret = Path(metadata.secret_file).read_bytes().strip()
    except OSError as error:
        raise Refused(f"cannot read [metadata] secret_file: {error}") from None
    if not secret:
        raise Refused(f"[metadata] secret_file {metadata.secret_file} is empty")
    return secret


def tls_context(metadata: MetadataConfig) -> ssl.SSLContext | None:
    """None for plain HTTP. Raises Refused."""
    if not metadata.tls:
        return None
    try:
        return ssl.create_default_context(cafile=metadata.ca_file or None)
    except OSError as error:
        raise Refused(f"cannot use [metadata] ca_file {metadata.ca_file}: {error}") from None
