# SPDX-License-Identifier: Apache-2.0
"""All doors of the agent: what is behind each, and the order in which they open."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from vrouter.agent.facade import Facade
from vrouter.api import bodies, paths
from vrouter.api.config import ApiConfig
from vrouter.api.desired import DesiredApi
from vrouter.api.doors import UnixDoor, listen_tcp, serving
from vrouter.api.guard import Guard
from vrouter.api.introspect import Introspect
from vrouter.api.ports import Ports
from vrouter.api.rest import RestApi
from vrouter.cni.server import CniApi
from vrouter.dpcore.errors import VrouterError
from vrouter.dpcore.instance import Instance


def main_app(facade: Facade, ports: Ports, cni: CniApi, token: str | None) -> ASGIApp:
    """vrouter-api, the desired state and CNI; `token`: as Guard."""
    routes = [
        *RestApi(facade, ports).routes(),
        *DesiredApi(facade, ports).routes(),
        *cni.routes(),
    ]
    return Guard(
        Starlette(routes=routes, exception_handlers={HTTPException: bodies.unknown}), token
    )


@contextlib.asynccontextmanager
async def serve(facade: Facade, instance: Instance, config: ApiConfig) -> AsyncIterator[None]:
    """See `vrouter.api.serve`."""
    folder = paths.state_dir(instance.name)
    _make_folders(instance.name)
    token = _token(paths.token_path(instance.name)) if config.token else None
    ports = Ports(facade, folder / "ports", config.stale_seconds)
    cni = CniApi(facade)
    app = main_app(facade, ports, cni, token)
    async with contextlib.AsyncExitStack() as stack:
        door = UnixDoor(paths.socket_path(instance.run_dir))
        stack.callback(door.close)
        stack.enter_context(contextlib.closing(door.sock))
        # apart, so that whoever holds all connections by TCP leaves those of the socket
        doors = [(app, door.sock)]
        if config.port:
            doors.append((app, stack.enter_context(contextlib.closing(listen_tcp(config.port)))))
        stack.callback(cni.close)
        await ports.start()
        stack.push_async_callback(ports.stop)
        if config.introspect_port:
            introspect = stack.enter_context(Introspect(facade, instance))
            doors.append((introspect.app(), listen_tcp(config.introspect_port)))
        await stack.enter_async_context(serving(*doors))
        door.open()
        yield


def _make_folders(name: str) -> None:
    """The state's folder 0750, that of port files 0770, both of the group that may use the API."""
    group = paths.group_id()
    for folder, mode in ((paths.state_dir(name), 0o750), (paths.ports_dir(name), 0o2770)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, -1, group)
            os.chmod(folder, mode)
        except OSError as error:
            raise VrouterError(f"cannot make {folder}: {error.strerror}") from None


def _token(path: Path) -> str:
    """The token, made at the first start: 0640, of the group that may use the API."""
    with contextlib.suppress(FileNotFoundError):
        if token := path.read_text().strip():
            return token
    token = secrets.token_urlsafe(32)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as handle:
        handle.write(token + "\n")
        os.fchown(handle.fileno(), -1, paths.group_id())
        os.fchmod(handle.fileno(), 0o640)
    os.replace(fresh, path)
    return token
