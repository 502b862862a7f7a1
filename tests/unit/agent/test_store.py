# SPDX-License-Identifier: Apache-2.0
"""What is acknowledged is there after whatever happens; numbers stay, and rest."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.agent.builders import BLUE, interface

from vrouter.agent.desired.ids import REST, Ids, Row
from vrouter.agent.desired.state import Change, State
from vrouter.agent.desired.store import Store
from vrouter.dpcore.errors import Refused


def commit(store: Store, state: State, *numbers: Row) -> None:
    change = state.change([BLUE, interface(len(state.keys()) + 1)], (), "api")
    store.commit(change, [(row.space, row.key, row) for row in numbers])


def commit_many(store: Store, state: State) -> None:
    for _ in range(200):
        commit(store, state)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "agent.db")
    yield made
    made.close()


def test_objects_and_numbers_come_back(store: Store) -> None:
    commit(store, State(), Row("vif", "interface/vm1", 3), Row("vif", "gone", 4, 12.5))
    again = Store(store.path)
    assert sorted(record.name for record, _ in again.objects()) == ["blue", "vm1"]
    assert {source for _, source in again.objects()} == {"api"}
    assert again.numbers() == [Row("vif", "gone", 4, 12.5), Row("vif", "interface/vm1", 3)]
    again.close()


WRITER = """
import sys
from pathlib import Path
from vrouter.agent.desired.records import Network
from vrouter.agent.desired.state import State
from vrouter.agent.desired.store import Store
store, state = Store(Path(sys.argv[1])), State()
for number in range(100_000):
    change = state.change([Network(name=f"n{number}")], (), "api")
    store.commit(change, ())
    print(number, flush=True)
"""


def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    for seed in range(3):
        path.unlink(missing_ok=True)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, os.fspath(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            heard = [process.stdout.readline() for _ in range(random.Random(seed).randrange(5, 40))]
            process.send_signal(signal.SIGKILL)
            heard += process.stdout.read().split()
        told = int(heard[-1])
        store = Store(path)
        names = {record.name for record, _ in store.objects()}
        store.close()
        assert {f"n{number}" for number in range(told + 1)} <= names
        assert len(names) <= told + 2


def test_a_full_disk_is_refused_and_loses_nothing(store: Store) -> None:
    state = State()
    commit(store, state)
    kept = store.objects()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heed = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(Refused, match="nothing was changed"):
            commit_many(store, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heed)
    assert all(one in store.objects() for one in kept)
    commit(store, State())  # and goes on when there is room again


def test_a_torn_write_ahead_log_keeps_what_came_before(store: Store) -> None:
    state = State()
    commit(store, state)
    log = store.path.with_name("agent.db-wal")
    whole = log.read_bytes()
    commit(store, state)
    copy = store.path.with_name("torn.db")
    copy.write_bytes(store.path.read_bytes())
    longer = log.read_bytes()
    copy.with_name("torn.db-wal").write_bytes(
        longer[: len(whole) + (len(longer) - len(whole)) // 2]
    )
    torn = Store(copy)
    assert sorted(record.name for record, _ in torn.objects()) == ["blue", "vm1"]
    torn.close()


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 10)
    with pytest.raises(Refused, match=r"agent\.db"):
        Store(path)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def numbers(clock: Clock) -> Ids:
    ids = Ids(clock)
    ids.space("vif", 3, 6)
    return ids


def test_a_key_keeps_its_number_over_a_restart() -> None:
    clock = Clock()
    ids = numbers(clock)
    assert [ids.give("vif", key) for key in "abc"] == [3, 4, 5]
    ids.release("vif", "b")
    rows = [row for _, _, row in ids.changes() if row is not None]
    again = numbers(clock)
    again.load(rows)
    assert (again.get("vif", "a"), again.get("vif", "b"), again.owner("vif", 5)) == (3, None, "c")
    assert again.give("vif", "b") == 4


def test_released_numbers_rest_the_longest_first() -> None:
    clock = Clock()
    ids = numbers(clock)
    for key in "abc":
        ids.give("vif", key)
    ids.release("vif", "b")
    clock.now += 1
    ids.release("vif", "a")
    assert ids.give("vif", "d") == 4  # b's: released first
    clock.now += REST
    assert ids.give("vif", "e") == 3
    with pytest.raises(Refused, match="all 3 numbers for vifs are in use"):
        ids.give("vif", "f")


def test_taken_back_nothing_has_changed() -> None:
    ids = numbers(Clock())
    ids.give("vif", "a")
    ids.settle()
    ids.give("vif", "b")
    ids.release("vif", "a")
    ids.undo()
    assert ids.get("vif", "a") == 3 and ids.get("vif", "b") is None and ids.changes() == []
    assert ids.give("vif", "c") == 4


def test_numbers_that_somebody_asked_for_are_not_given() -> None:
    ids = numbers(Clock())
    assert ids.give("vif", "a", lambda number: number < 5) == 5


def test_an_empty_change_stores_numbers(store: Store) -> None:
    store.commit(Change(), [("vif", "a", Row("vif", "a", 3))])
    store.commit(Change(), [("vif", "a", None)])
    assert store.numbers() == []
