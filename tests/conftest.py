# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests that need a network namespace or an instance of their own; how tests run
beside each other; what the end of a run tells."""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests import exclusive
from vrouter.dpcore.instance import Instance

# record_property(SUMMARY, line): a line that the end of the run shows
SUMMARY = "summary"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@pytest.fixture
def netns() -> Iterator[None]:
    """The test runs in a new, empty network namespace; skipped unless root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes a network namespace")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.unshare(_CLONE_NEWNET))
        yield
    finally:
        _checked(_libc.setns(home, _CLONE_NEWNET))
        os.close(home)


@pytest.fixture
def instance(netns: None) -> Iterator[Instance]:
    """An instance of a name of its own, not loaded; unloaded afterwards."""
    from vrouter.dpcore import loader

    one = Instance(f"t-{os.getpid()}-{next(_numbers)}")
    try:
        yield one
    finally:
        loader.unload(one)


@pytest.fixture
def other_netns(netns: None) -> Callable[[], None]:
    """A call that moves the test on to another new network namespace."""
    return lambda: _checked(_libc.unshare(_CLONE_NEWNET))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need the machine for themselves come last: then nobody has to wait for them."""
    items.sort(key=lambda item: item.get_closest_marker(exclusive.MARK) is not None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if exclusive.INSIDE_A_TEST:
        return (yield)
    # first: a test's timeout starts when its turn has come
    with exclusive.turn(item.get_closest_marker(exclusive.MARK) is not None):
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get(
        "failed", []
    ):
        for name, line in report.user_properties:
            if name == SUMMARY:
                terminalreporter.write_line(line)
    if _skips_are_errors(terminalreporter):
        terminalreporter.write_line("a test was skipped in CI: install what it needs", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _skips_are_errors(reporter) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skips_are_errors(reporter: pytest.TerminalReporter) -> bool:
    """In CI the machine is ours to set up: a test that could not run has failed."""
    return bool(os.environ.get("CI") and reporter.stats.get("skipped"))
