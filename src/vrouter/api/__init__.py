# SPDX-License-Identifier: Apache-2.0
"""The agent's HTTP doors: vrouter-api, the desired state, introspection; and how to reach them.

`client`, `paths` and `portfile` need the standard library only, for what must start quickly.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vrouter.agent.facade import Facade
    from vrouter.api.config import ApiConfig
    from vrouter.dpcore.instance import Instance


def serve(
    facade: Facade, instance: Instance, config: ApiConfig
) -> AbstractAsyncContextManager[None]:
    """Serve the agent's APIs in the running event loop for the block.

    On entry every door is open, the unix socket last. Raises Refused when a TCP port is taken.
    """
    from vrouter.api.server import serve as real  # noqa: PLC0415 - the clients are stdlib only

    return real(facade, instance, config)
