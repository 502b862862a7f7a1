# SPDX-License-Identifier: Apache-2.0
"""Where the agent of an instance keeps its socket and its state; standard library only."""

from __future__ import annotations

import os
from pathlib import Path

GROUP = "vrouter"
STATE = "/var/lib/vrouter"


def state_dir(name: str) -> Path:
    """What instance `name` keeps over a restart of the machine ($VROUTER_STATE_DIR/NAME)."""
    return Path(os.environ.get("VROUTER_STATE_DIR", STATE), name)


def ports_dir(name: str) -> Path:
    """The port files: one JSON file per port, named by its UUID; vm/VM/VMI of containers."""
    return state_dir(name) / "ports"


def token_path(name: str) -> Path:
    """The file whose one line a TCP client must show to change something."""
    return state_dir(name) / "token"


def socket_path(run_dir: Path) -> Path:
    """The agent's unix socket in the runtime folder of its instance."""
    return run_dir / "api.sock"


def group_id() -> int:
    """The group that may use the API: `vrouter`, which packages make; root's if there is none."""
    import grp  # noqa: PLC0415 - only the agent asks

    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return 0
