# SPDX-License-Identifier: Apache-2.0
"""`vrouter sandesh`: the door for software that was written for upstream's vRouter."""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import Any

from vrouter.tools.common import ToolParser, open_instance


def add_arguments(commands: Any, command: Any) -> None:
    """`sandesh`; `command` makes one sub-command (see vrouter.py)."""
    text = (
        "serve upstream's control protocol on a unix socket, in the foreground: upstream's tools "
        "(vif --sock-dir DIR --list) and agents then work on this vRouter"
    )
    door: ToolParser = command(commands, "sandesh", text, _serve, sock_dir=True)
    add = door.add_argument
    add(
        "--sock-dir",
        type=Path,
        metavar="DIR",
        required=True,
        help="folder of the sockets dpdk_netlink (requests) and dpdk_pkt0 (packets of an agent)",
    )
    add(
        "--far-netns",
        metavar="NS",
        help="network namespace, by name or path, for the far ends of netdevices that are made "
        "for vifs of transport pmd or socket; without it such a vif must have a netdevice",
    )


def _serve(args: argparse.Namespace) -> None:
    instance = open_instance(args)
    instance.require_loaded()
    from vrouter.sandesh.answering import Teller  # noqa: PLC0415 - pyroute2 takes 240 ms
    from vrouter.sandesh.door import Door  # noqa: PLC0415 - the same

    folder = args.sock_dir.absolute()
    say = Teller(args.prog)
    with instance.enter_netns(), Door(instance, folder, args.far_netns, say) as door:
        say(f"instance {instance.name} is served in {folder}")
        # what is there by now stays, and requests leave few cycles: a tenth of the time is theirs
        gc.freeze()
        gc.set_threshold(20_000, 20, 100)
        door.run()
