# SPDX-License-Identifier: Apache-2.0
"""Dumps in parts, and what is said of refusals."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vrouter.sandesh.answering import Teller
from vrouter.sandesh.dumps import MORE, Dump, Kept


class Table:
    """Numbers; each object takes four bytes."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = list(numbers)
        self.read = 0
        self.gone: set[int] = set()
        self.encoded: list[int] = []

    def rows(self) -> list[int]:
        self.read += 1
        return list(self.numbers)

    def dump(self, marker: int | None = None, version: int | None = None) -> Dump:
        def encode(one: int) -> bytes | None:
            self.encoded.append(one)
            return None if one in self.gone else one.to_bytes(4)

        return Dump("table", self.rows, lambda one: one, marker, encode, version)


def walk(
    kept: Kept, table: Table, client: int = 1, version: int | None = None, idle: bool = False
) -> list[int]:
    """All objects of a dump, 12 bytes a page; idle: pages are made ahead."""
    found: list[int] = []
    marker = None
    while True:
        page = kept.page(table.dump(marker, version), client, 12)
        objects = [page.objects[at : at + 4] for at in range(0, len(page.objects), 4)]
        assert page.code & ~MORE == len(objects) <= 3
        found += [int.from_bytes(one) for one in objects]
        if not page.code & MORE:
            return found
        marker = found[-1]
        if idle:
            kept.ahead()


def test_all_of_it_once() -> None:
    for size in range(12):
        table = Table(range(10, 10 + size))
        assert walk(Kept(), table) == table.numbers
        assert table.read == 1


def test_what_others_write_meanwhile() -> None:
    table, kept = Table([1, 2, 3, 4, 5, 6, 7]), Kept()
    first = kept.page(table.dump(), 1, 12)
    assert first.code == 3 | MORE
    table.numbers = [2, 9, 10, 11]
    table.gone = {5}
    assert kept.page(table.dump(3), 1, 12).objects == b"\0\0\0\4\0\0\0\6\0\0\0\7"
    # another client sees what is there now, and so does one that goes on where nothing is kept
    assert walk(kept, table, client=2) == [2, 9, 10, 11]
    assert kept.page(table.dump(9), 3, 12).objects == b"\0\0\0\x0a\0\0\0\x0b"


def test_rows_are_shared_as_long_as_nothing_was_written() -> None:
    table, kept = Table(range(9)), Kept()
    for client in range(5):
        kept.page(table.dump(version=1), client, 12)
    assert table.read == 1
    kept.page(table.dump(version=2), 9, 12)
    assert table.read == 2
    assert walk(kept, table, client=1, version=2) == table.numbers


def test_pages_are_made_before_they_are_asked_for() -> None:
    table, kept = Table(range(8)), Kept()
    assert walk(kept, table, version=1, idle=True) == table.numbers
    # the fourth of a page is looked at, and does not fit
    assert table.encoded == [0, 1, 2, 3, 3, 4, 5, 6, 6, 7]
    table.encoded.clear()
    kept.page(table.dump(version=1), 1, 12)
    kept.ahead()
    made = len(table.encoded)
    assert kept.page(table.dump(2, version=1), 1, 12).objects == b"\0\0\0\3\0\0\0\4\0\0\0\5"
    assert len(table.encoded) == made, "it was there"


@pytest.mark.parametrize(("marker", "size"), [(4, 12), (2, 8), (0, 12)])
def test_a_page_that_was_made_for_nothing(marker: int, size: int) -> None:
    """Who goes on elsewhere, or by pages of another size, gets what it asks for."""
    table, kept = Table(range(8)), Kept()
    kept.page(table.dump(version=1), 1, 12)
    kept.ahead()
    page = kept.page(table.dump(marker, version=1), 1, size)
    assert page.objects[:4] == (marker + 1).to_bytes(4) and page.code & ~MORE == size // 4


def test_what_cannot_be_made_ahead_fails_when_it_is_asked_for() -> None:
    table, kept = Table([0, 1, 2, 1 << 32]), Kept()
    kept.page(table.dump(version=1), 1, 8)
    kept.ahead()
    with pytest.raises(OverflowError):
        kept.page(table.dump(1, version=1), 1, 8)


def test_what_changes_by_itself_is_read_when_it_is_asked_for() -> None:
    """Counters: objects of tables that nobody notes changes of."""
    table, kept = Table(range(8)), Kept()
    kept.page(table.dump(), 1, 12)
    kept.ahead()
    assert table.encoded == [0, 1, 2, 3]


def test_what_is_kept_has_limits() -> None:
    now = [0.0]
    table, kept = Table(range(9)), Kept(lambda: now[0])
    for client in range(200):
        kept.page(table.dump(), client, 12)
    assert len(kept._rows) == 64
    kept.forget(199)
    assert len(kept._rows) == 63
    now[0] = 60.0
    kept.expire()
    assert not kept._rows


def test_one_object_that_is_larger_than_a_page() -> None:
    table, kept = Table(range(3)), Kept()
    assert kept.page(table.dump(), 1, 1).code == 1 | MORE


def test_a_journal_is_not_filled(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    say = Teller("vrouter", lambda: now[0])
    for number in range(1000):
        say(f"line {number}")
    now[0] = 2.0
    say("later")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["vrouter: line 0", "vrouter: line 1"]
    assert lines[99:] == [
        "vrouter: line 99",
        "vrouter: 900 more lines were kept back",
        "vrouter: later",
    ]
