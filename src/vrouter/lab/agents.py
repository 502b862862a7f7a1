# SPDX-License-Identifier: Apache-2.0
"""A lab's agents: each host's runs in its namespace, and is told the lab's networks by a file."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import VrouterError
from vrouter.dpcore.instance import find_instance
from vrouter.dpcore.names import NhFlag, NhType
from vrouter.host import agent_lock, netns
from vrouter.host.takeover import state as takeover
from vrouter.lab.state import LABS_DIR
from vrouter.lab.topology import Host, Lab, Network, Vm

_READY_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 30.0
_STARTED = "import sys; from vrouter.agent.main import main; sys.exit(main())"


def desired(lab: Lab, host: Host) -> dict[str, list[dict[str, Any]]]:
    """The desired state of a host, as `vrouter apply` takes it."""
    others = [one for one in lab.hosts if one != host]
    here = [vm for vm in lab.vms if vm.host == host.name]
    there = [vm for vm in lab.vms if vm.host != host.name]
    return {
        "network": [_network(lab, network) for network in lab.networks],
        "interface": [_interface(vm) for vm in here],
        "host": [_host(lab, other) for other in others],
        "membership": [
            {
                "name": f"{network.name}-{other.name}",
                "network": network.name,
                "host": other.name,
                "flood_label": network.flood_label,
            }
            for network in lab.networks
            for other in others
        ],
        "endpoint": [{**_station(vm), "host": vm.host} for vm in there],
    }


def _network(lab: Lab, network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "vni": network.vni,
        "flood_label": network.flood_label,
        "forwarding": "l3" if lab.forwarding == "l3" else "l2l3",
        "subnets": [
            {"prefix": network.subnet, "gateway": network.gateway},
            {"prefix": network.subnet6, "gateway": network.gateway6},
        ],
    }


def _station(vm: Vm) -> dict[str, Any]:
    return {
        "name": vm.name,
        "network": vm.network,
        "mac": vm.mac,
        "addresses": [vm.ip, vm.ip6],
        "label": vm.l3_label,
        "l2_label": vm.l2_label,
    }


def _interface(vm: Vm) -> dict[str, Any]:
    return {**_station(vm), "device": vm.tap, "vm": vm.name}


def _host(lab: Lab, other: Host) -> dict[str, Any]:
    address = other.ip6 if lab.underlay == "6" else other.ip
    return {"name": other.name, "address": address, "encapsulations": [lab.encap]}


def toml(data: dict[str, list[dict[str, Any]]]) -> str:
    """As TOML: arrays of tables of strings, numbers, arrays and inline tables."""
    lines: list[str] = []
    for kind, objects in data.items():
        for one in objects:
            lines.append(f"[[{kind}]]")
            lines += [f"{key} = {_value(value)}" for key, value in one.items()]
            lines.append("")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_value(one)}" for key, one in value.items())
        return f"{{ {inner} }}"
    return str(value) if isinstance(value, int) else f'"{value}"'


def folder(lab: Lab, host: str) -> Path:
    """Where a host's agent has its files: state.toml, agent.toml, agent.log."""
    return LABS_DIR / "agents" / lab.instance(host)


def start(lab: Lab, *hosts: Host, fresh: bool = True) -> list[int]:
    """Start the agents of these hosts, all at once, and wait until they are ready; their process
    ids.

    fresh: with the lab's own desired state, whatever stands in its file.

    Raises VrouterError with what one said that does not get ready; then none of them runs.
    """
    starts: list[_Start] = []
    try:
        for host in hosts:
            place = folder(lab, host.name)
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if fresh:
                (place / "state.toml").write_text(toml(desired(lab, host)), encoding="utf-8")
            config = place / "agent.toml"
            config.write_text(f'desired_state = "{place}/state.toml"\n', encoding="utf-8")
            arguments = ["--name", lab.instance(host.name), "--config", str(config)]
            starts.append(_Start(lab.netns(host.name), arguments, place / "agent.log"))
        return [one.ready() for one in starts]
    except BaseException:
        for one in starts:
            one.end()
        raise


def run(space: str, arguments: list[str], log: Path) -> int:
    """Run vrouter-agent with `arguments` in namespace `space`, its output in `log`; its process
    id once it is ready."""
    started = _Start(space, arguments, log)
    try:
        return started.ready()
    except BaseException:
        started.end()
        raise


class _Start:
    """An agent that was started and tells when it is ready."""

    def __init__(self, space: str, arguments: list[str], log: Path) -> None:
        self._space, self._log = space, log
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = log.with_suffix(".ready")  # an abstract one would be the namespace's
        address.unlink(missing_ok=True)
        self._told.bind(os.fspath(address))
        with log.open("a", encoding="utf-8") as output, netns.enter(space):
            self._process = subprocess.Popen(
                [sys.executable, "-c", _STARTED, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "NOTIFY_SOCKET": os.fspath(address), "PYTHONPATH": _source()},
                start_new_session=True,
                cwd="/",
            )

    def ready(self) -> int:
        """Wait until it is; its process id. Raises VrouterError."""
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if select.select([self._told], [], [], 0.05)[0] and b"READY=1" in self._told.recv(4096):
                self._told.close()
                return self._process.pid
        self.end()
        tail = "\n".join(self._log.read_text(encoding="utf-8").splitlines()[-5:])
        said = tail or "it said nothing"
        raise VrouterError(f"the agent in {self._space} did not get ready: {said}")

    def end(self) -> None:
        """Kill it."""
        self._told.close()
        self._process.kill()
        self._process.wait()


def settle(lab: Lab) -> None:
    """Wait until every host's tunnels lead somewhere: its agent has the other's MAC by then.

    Raises VrouterError that names who does not answer.
    """
    end = time.monotonic() + _SETTLE_SECONDS
    for host in lab.hosts:
        with DpCore.open(find_instance(lab.instance(host.name))) as core:
            while ways := _unresolved(core):
                if time.monotonic() > end:
                    to = ", ".join(ways)
                    raise VrouterError(f"{host.name} has found no way to {to}: is its agent well?")
                time.sleep(0.02)


def _unresolved(core: DpCore) -> list[str]:
    tunnels = [one for one in core.nexthops.items() if one.type == NhType.TUNNEL]
    return sorted({str(one.dip) for one in tunnels if not one.flags & NhFlag.VALID})


def runs(lab: Lab, host: Host) -> bool:
    """Whether a host's agent lives: it holds its lock."""
    return agent_lock.holder(find_instance(lab.instance(host.name))) is not None


def _source() -> str:
    return os.fspath(Path(__file__).parents[2])


def forget(lab: Lab, host: str) -> None:
    """Remove what a host's agent left in files."""
    place = folder(lab, host)
    for name in ("state.toml", "agent.toml", "agent.log", "agent.ready"):
        (place / name).unlink(missing_ok=True)
    for path in (place, place.parent):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    kept = takeover.path(find_instance(lab.instance(host))).parent
    shutil.rmtree(kept / "ports", ignore_errors=True)
    for left in (*kept.glob("agent.db*"), kept / "token"):
        left.unlink(missing_ok=True)
    if kept.is_dir() and not any(kept.iterdir()):
        kept.rmdir()
