# SPDX-License-Identifier: Apache-2.0
"""Running a tool on a fake dp-core and reading what it says."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import pytest
from tests.unit.fake_core import FakeCore

TOOLS = (
    "vif",
    "nh",
    "rt",
    "mpls",
    "vxlan",
    "mirror",
    "qosmap",
    "dropstats",
    "vrfstats",
    "vrinfo",
    "vrmemstats",
    "vrouter",
)
_USERS = (
    *(
        "common",
        "label_table",
        "nh",
        "rt_show",
        "rt_write",
        "vif_show",
        "vif_set",
        "vif_write",
        "dropstats",
    ),
    *("vrfstats", "vrmemstats", "vrouter", "vrouter_info", "vrouter_status", "vrouter_trace"),
    *("instance_info", "mirror", "qosmap", "vrinfo"),
)


@dataclass
class Tools:
    """Runs commands; `core` is what they work on."""

    core: FakeCore
    capsys: pytest.CaptureFixture[str]

    def run(self, line: str) -> tuple[int, str, str]:
        """Exit code, standard output and error of a command line."""
        command, *argv = line.split()
        main = importlib.import_module(f"vrouter.tools.{command}").main
        try:
            code = main(argv)
        except SystemExit as stop:  # --help and --version
            code = int(stop.code or 0)
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def out(self, line: str) -> str:
        """Standard output of a command line that must succeed."""
        code, out, err = self.run(line)
        assert (code, err) == (0, ""), (line, code, err)
        return out


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tools:
    """The tools on an empty fake dp-core."""
    core = FakeCore()
    # all are there before one is patched: who is imported later would keep what it found then
    modules = [importlib.import_module(f"vrouter.tools.{name}") for name in _USERS]
    for module in modules:
        if hasattr(module, "open_core"):
            monkeypatch.setattr(module, "open_core", lambda _args, **_: core)
        if hasattr(module, "open_instance"):
            monkeypatch.setattr(module, "open_instance", lambda _args: core.instance)
    module = importlib.import_module("vrouter.tools.vrinfo")
    monkeypatch.setattr(module, "open_instance", lambda _args: core.instance)
    return Tools(core, capsys)
