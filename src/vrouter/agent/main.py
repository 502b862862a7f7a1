# SPDX-License-Identifier: Apache-2.0
"""`vrouter-agent`: the agent in the foreground, for systemd or a terminal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from vrouter.agent import config as configuration
from vrouter.agent.config import Config
from vrouter.agent.daemon import Agent
from vrouter.agent.door import kept_open
from vrouter.agent.systemd import notify
from vrouter.api import serve
from vrouter.dpcore import netns
from vrouter.dpcore.errors import Refused, VrouterError
from vrouter.dpcore.instance import Instance, find_instance

log: Final = logging.getLogger("vrouter.agent")
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `vrouter-agent`."""
    parser = argparse.ArgumentParser(
        "vrouter-agent",
        description="The agent of a vRouter: makes ports, networks and routes real, answers VMs. "
        "Stopping it stops no packet.",
    )
    parser.add_argument("--name", help="the vRouter (default: the one of this namespace)")
    parser.add_argument(
        "--config", type=Path, help=f"its configuration (default: {configuration.DEFAULT})"
    )
    parser.add_argument("--no-api", action="store_true", help="serve no API, not even api.sock")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    args = build_parser().parse_args(argv)
    try:
        found = configuration.read(args.config)
        _log_to_stderr(found)
        instance = find_instance(args.name)
        instance.require_loaded()
        with _inside(instance):
            return asyncio.run(_serve(instance, found, args))
    except VrouterError as error:
        print(f"vrouter-agent: {error}", file=sys.stderr)
        return error.exit_code


def _log_to_stderr(found: Config) -> None:
    # journald adds the time
    form = "%(levelname)s %(name)s: %(message)s"
    if "JOURNAL_STREAM" not in os.environ:
        form = f"%(asctime)s {form}"
    logging.basicConfig(stream=sys.stderr, format=form, force=True)
    logging.getLogger("vrouter").setLevel(_LEVELS[found.log.level])


@contextlib.contextmanager
def _inside(instance: Instance) -> Iterator[None]:
    """In the instance's network namespace; threads that are made inside are in it too."""
    if instance.is_here():
        yield
        return
    fd = instance.open_netns()
    if fd is None:
        raise Refused(f"the network namespace of vRouter {instance.name!r} is gone")
    with netns.entered(fd):
        yield


async def _serve(instance: Instance, found: Config, args: argparse.Namespace) -> int:
    agent = Agent(instance, found)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await agent.start()
        loop.add_signal_handler(signal.SIGHUP, _reload, agent, args.config)
        async with contextlib.AsyncExitStack() as doors:
            if not args.no_api:
                await doors.enter_async_context(serve(agent, instance, found.api))
            await doors.enter_async_context(kept_open(instance, found.sandesh))
            log.info("vRouter %s: ready", instance.name)
            notify("READY=1", "STATUS=forwarding, tables as wanted")
            await stopped.wait()
            notify("STOPPING=1", "STATUS=stopping; packets go on")
    finally:
        await agent.stop()
    return 0


def _reload(agent: Agent, path: Path | None) -> None:
    """SIGHUP: read the configuration again, and apply its file."""
    try:
        agent.reload(configuration.read(path))
    except VrouterError as error:
        log.error("the configuration stays as it was: %s", error)
        return
    logging.getLogger("vrouter").setLevel(_LEVELS[agent.config.log.level])


if __name__ == "__main__":
    sys.exit(main())
