# SPDX-License-Identifier: Apache-2.0
"""Run a command inside a node of a lab, as `ip netns exec` does.

The command sees the node's devices in /sys as well, our tools first on PATH, and, on a host, that
host's vRouter through $VROUTER_NAME. Our bpffs lies outside /sys, so it stays visible.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vrouter.dpcore.errors import UsageError, VrouterError
from vrouter.host import netns
from vrouter.lab.topology import Lab

_MS_REC, _MS_SLAVE = 0x4000, 0x80000
EXIT_NOT_FOUND = 127
EXIT_NOT_EXECUTABLE = 126


def environment(lab: Lab, node: str) -> dict[str, str]:
    """The environment of a command in `node`."""
    env = dict(os.environ)
    tools = str(Path(sys.executable).parent)
    env["PATH"] = f"{tools}{os.pathsep}{env.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"
    env["VROUTER_LAB"] = lab.id
    env.pop("VROUTER_NAME", None)
    if node in {host.name for host in lab.hosts}:
        env["VROUTER_NAME"] = lab.instance(node)
    return env


def check_node(lab: Lab, node: str) -> None:
    """UsageError that lists the nodes if there is none of that name."""
    if node not in lab.nodes:
        raise UsageError(f"lab {lab.id} has no node {node!r}; there are: {', '.join(lab.nodes)}")
    if not netns.exists(lab.netns(node)):
        raise VrouterError(
            f"node {node} of lab {lab.id} has lost its namespace: run `vrouter lab up` again"
        )


def _move_in(lab: Lab, node: str) -> None:
    """Move this process for good: network namespace, mount namespace, /sys of that network."""
    with open(netns.path(lab.netns(node)), "rb") as handle:
        netns.setns(handle.fileno())
    netns.unshare(netns.CLONE_NEWNS)
    netns.mount("none", "/", None, _MS_REC | _MS_SLAVE)
    netns.mount("sysfs", "/sys", "sysfs", 0)


def execute(lab: Lab, node: str, command: Sequence[str]) -> NoReturn:
    """Become `command` inside the node: exit code, signals and files are the command's own."""
    check_node(lab, node)
    env = environment(lab, node)
    _move_in(lab, node)
    try:
        os.execvpe(command[0], list(command), env)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        print(f"vrouter lab exec: {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE)


def popen(
    lab: Lab, node: str, command: Sequence[str], *, stderr: int | None = None
) -> subprocess.Popen[str]:
    """Start `command` in the node with its output in a pipe, for programs that drive a lab.

    Moves only the network namespace: /sys is the caller's.
    """
    check_node(lab, node)
    with netns.enter(lab.netns(node)):
        return subprocess.Popen(
            list(command),
            env=environment(lab, node),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )


def call(
    lab: Lab, node: str, command: Sequence[str], *, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `command` in the node to its end; stdout and stderr together in `stdout`."""
    with popen(lab, node, command, stderr=subprocess.STDOUT) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
    return subprocess.CompletedProcess(list(command), process.returncode, output)
