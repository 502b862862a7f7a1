# SPDX-License-Identifier: Apache-2.0
"""The desired state on the disk: SQLite in WAL mode, synced before anything is acknowledged.

One transaction holds a whole request with the numbers that it was given, so what is found after
a crash is what was acknowledged, and at most one request more.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, cast

import msgspec

from vrouter.agent.desired.ids import Row
from vrouter.agent.desired.records import KINDS, Record
from vrouter.agent.desired.state import Change, Key
from vrouter.agent.facade import Source
from vrouter.dpcore.errors import Refused

VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE object (
    kind TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE number (
    space TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL, released REAL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
"""


class Store:
    """An open store. Raises Refused, naming the file, for whatever goes wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained("open"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # whoever calls takes care that one thread at a time does
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
        self._ensure_schema()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def objects(self) -> list[tuple[Record, Source]]:
        """Every object with its source."""
        found: list[tuple[Record, Source]] = []
        with self._explained("read"):
            rows = self._db.execute("SELECT kind, name, source, body FROM object").fetchall()
        for kind, name, source, body in rows:
            struct = KINDS.get(kind)
            if struct is None:
                raise self._refused(f"it holds a {kind}, which this release does not know")
            try:
                record = msgspec.json.decode(body, type=struct)
            except msgspec.DecodeError as error:
                raise self._refused(f"{kind} {name}: {error}") from None
            found.append((record, cast(Source, source)))
        return found

    def numbers(self) -> list[Row]:
        """Every number that was given."""
        with self._explained("read"):
            rows = self._db.execute("SELECT space, key, number, released FROM number").fetchall()
        return [Row(*row) for row in rows]

    def commit(self, change: Change, numbers: Iterable[tuple[str, str, Row | None]]) -> None:
        """Write a change and the numbers, for good: it is on the disk when this returns.

        Raises Refused; then nothing is written.
        """
        with self._explained("write"), self._transaction():
            for key, record in change.after.items():
                self._write(key, record, change.sources.get(key))
            for space, key_, row in numbers:
                self._write_number(space, key_, row)

    def _write(self, key: Key, record: Record | None, source: Source | None) -> None:
        if record is None:
            self._db.execute("DELETE FROM object WHERE kind = ? AND name = ?", key)
            return
        body = msgspec.json.encode(record).decode()
        self._db.execute("REPLACE INTO object VALUES (?, ?, ?, ?)", (*key, source, body))

    def _write_number(self, space: str, key: str, row: Row | None) -> None:
        if row is None:
            self._db.execute("DELETE FROM number WHERE space = ? AND key = ?", (space, key))
        else:
            values = (row.space, row.key, row.number, row.released)
            self._db.execute("REPLACE INTO number VALUES (?, ?, ?, ?)", values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def _ensure_schema(self) -> None:
        with self._explained("open"):
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                with self._transaction():
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {VERSION}")
        if version > VERSION:
            raise self._refused(f"a later release wrote it (layout {version}, ours is {VERSION})")

    @contextlib.contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise Refused(
                f"cannot {verb} the desired state in {self.path}: {error}: nothing was changed"
            ) from error

    def _refused(self, why: str) -> Refused:
        return Refused(f"cannot use the desired state in {self.path}: {why}")
