#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/cni.py [--rounds N] [--containers N] [--json FILE]: CNI ADD, side by side with `bridge`.

Both (`bridge` with `host-local`) put a veth with an address and a default route into namespaces of
the same host, called as a runtime calls them: one at a time, and 32 at once. What Python's own
start takes is shown apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from vrouter.cni.install import install  # noqa: E402 - found by the path above
from vrouter.dpcore.errors import VrouterError  # noqa: E402
from vrouter.host import netns  # noqa: E402
from vrouter.lab import build, topology  # noqa: E402
from vrouter.lab.topology import Lab  # noqa: E402

PLUGINS = Path("/usr/lib/cni")


class Plugin:
    """A way to call a CNI plugin on host h1 of a lab."""

    def __init__(self, lab: Lab, binary: Path, conf: dict[str, Any]) -> None:
        self._binary = binary
        self._conf = json.dumps(conf).encode()
        self._space = netns.path(lab.netns("h1"))

    def __call__(self, command: str, number: int, space: str) -> float:
        """Seconds that a call took. Raises VrouterError with what the plugin says."""
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"c{number}",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": str(netns.path(space)),
            "CNI_PATH": str(PLUGINS),
            "PATH": os.environ["PATH"],
        }
        # nsenter: a plugin runs in the host's namespace; both pay for it
        words = ["nsenter", f"--net={self._space}", str(self._binary)]
        began = time.monotonic()
        done = subprocess.run(words, env=env, input=self._conf, capture_output=True)
        took = time.monotonic() - began
        if done.returncode:
            raise VrouterError(f"{self._binary.name} {command}: {(done.stdout + done.stderr)!r}")
        return took


@contextmanager
def _host(count: int) -> Iterator[tuple[Lab, list[str]]]:
    lab = topology.plan("two-hosts", f"cni{os.getpid()}", encap="vxlan", control="agent")
    spaces = [f"{lab.id}-c{number}" for number in range(count)]
    try:
        build.up(lab, lambda line: None)
        for name in spaces:
            netns.create(name)
        yield lab, spaces
    finally:
        for name in spaces:
            netns.delete(name)
        build.down(lab.id, lambda line: None)


def _one_at_a_time(plugin: Plugin, spaces: list[str]) -> float:
    """Median milliseconds of an ADD; a DEL follows each."""
    times = []
    for number, space in enumerate(spaces):
        times.append(plugin("ADD", number, space) * 1000)
        plugin("DEL", number, space)
    return median(times)


def _at_once(plugin: Plugin, spaces: list[str]) -> float:
    """Milliseconds until all ADDs that were started together are done."""
    with ThreadPoolExecutor(len(spaces)) as threads:
        began = time.monotonic()
        list(threads.map(lambda pair: plugin("ADD", *pair), enumerate(spaces)))
        took = (time.monotonic() - began) * 1000
        list(threads.map(lambda pair: plugin("DEL", *pair), enumerate(spaces)))
    return took


def _start(words: list[str], rounds: int) -> float:
    env = {"CNI_COMMAND": "VERSION"}
    times = []
    for _ in range(rounds * 5):
        began = time.monotonic()
        subprocess.run(words, env=env, input=b"{}", capture_output=True, check=True)
        times.append((time.monotonic() - began) * 1000)
    return median(times)


def _measure(rounds: int, count: int) -> dict[str, Any]:
    with _host(count) as (lab, spaces), tempfile.TemporaryDirectory() as folder:
        if install(folder):
            raise VrouterError("the plugin could not be installed")
        own = Path(folder, "vrouter-cni")
        python = own.read_text().split()[0].removeprefix("#!")
        bridge = {
            "cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni-bench",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]],
                     "routes": [{"dst": "0.0.0.0/0"}], "dataDir": f"{folder}/ipam"},
        }  # fmt: skip
        conf = {"cniVersion": "1.0.0", "name": "bench", "type": "vrouter-cni", "network": "blue",
                "instance": lab.instance("h1")}  # fmt: skip
        plugins = {
            "vrouter-cni": Plugin(lab, own, conf),
            "bridge": Plugin(lab, PLUGINS / "bridge", bridge),
        }
        found: dict[str, Any] = {
            "python": _start([python, "-IS", "-c", "pass"], rounds),
            "shim VERSION": _start([str(own)], rounds),
        }
        cases: dict[str, Callable[[Plugin, list[str]], float]] = {
            "one at a time": _one_at_a_time,
            f"{count} at once": _at_once,
        }
        for what, measure in cases.items():
            taken: dict[str, list[float]] = {name: [] for name in plugins}
            for _ in range(rounds):
                for name, plugin in plugins.items():
                    taken[name].append(measure(plugin, spaces))
            found[what] = {name: median(times) for name, times in taken.items()}
        return found


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench/cni.py", description="CNI ADD, side by side.")
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="rounds (3)")
    parser.add_argument(
        "--containers", metavar="N", type=int, default=32, help="how many at once (32)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results for programs")
    args = parser.parse_args()
    try:
        if not (PLUGINS / "bridge").exists():
            raise VrouterError(
                "there is no /usr/lib/cni/bridge: install containernetworking-plugins"
            )
        found = _measure(args.rounds, args.containers)
    except VrouterError as error:
        print(f"bench/cni.py: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{'ADD, ms':16}{'vrouter-cni':>14}{'bridge':>10}{'ratio':>8}")
    for what, times in found.items():
        if isinstance(times, dict):
            ours, theirs = times["vrouter-cni"], times["bridge"]
            print(f"{what:16}{ours:14.1f}{theirs:10.1f}{ours / theirs:8.2f}")
    print(
        f"of which Python's start {found['python']:.1f}, the plugin's {found['shim VERSION']:.1f}"
    )
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
