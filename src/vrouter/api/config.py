# SPDX-License-Identifier: Apache-2.0
"""The section [api] of the agent's configuration."""

from __future__ import annotations

import msgspec


class ApiConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The doors of the agent; every TCP port is open on the loopback only.

    port: vrouter-api (0: none). introspect_port: introspection and metrics (0: none). token:
    whether a TCP client needs the token to change something; upstream's clients have none.
    stale_seconds: how long after POST /syncports a port may be silent before it goes.
    """

    port: int = 9091
    introspect_port: int = 8085
    token: bool = True
    stale_seconds: float = 60.0
