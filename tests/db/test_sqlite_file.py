"""SQLite's files are moved, deleted, replaced or damaged while they are open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from keystead import errors
from keystead.db.interface import Unusable
from keystead.db.migrate import upgrade
from keystead.db.sqlite import SqliteDatabase
from keystead.db.sqlite_threads import Worker
from tests.db.things import add, names

FILES = ["", "-wal", "-shm"]


@pytest.fixture
async def file(file: SqliteDatabase) -> SqliteDatabase:
    """The same with one row."""
    await write(file, "before")
    return file


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)


def empty(path: Path) -> None:
    path.unlink()
    path.touch()


CHANGES: dict[str, Callable[[Path], object]] = {
    "move": lambda path: path.rename(path.with_name(f"gone-{path.name}")),
    "delete": Path.unlink,
    "replace": replace,
    "empty": empty,
}


def move_all(here: str, there: str) -> None:
    for suffix in FILES:
        os.rename(here + suffix, there + suffix)


def damage(path: Path) -> None:
    """Overwrites every page but the first."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xee" * (len(content) - 4096))


async def write(file: SqliteDatabase, name: str) -> None:
    async with file.transaction() as tx:
        await add(tx, name)


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("change", CHANGES)
async def test_writes_to_an_unlinked_file_are_never_acknowledged(
    file: SqliteDatabase, change: str, suffix: str
) -> None:
    CHANGES[change](Path(file.path + suffix))
    with pytest.raises(Unusable):
        await write(file, "lost")
    with pytest.raises(Unusable):
        await file.ping()
    file._files.check()
    with pytest.raises(Unusable):
        await names(file.reads)
    with pytest.raises(Unusable):
        await names(file.scans)


async def test_a_changed_link_is_detected(file: SqliteDatabase, tmp_path: Path) -> None:
    link, other = tmp_path / "link.db", tmp_path / "other.db"
    link.symlink_to(file.path)
    linked = SqliteDatabase(str(link))
    await linked.open()
    await write(linked, "through the link")
    shutil.copy(file.path, other)
    link.unlink()
    link.symlink_to(other)
    with pytest.raises(Unusable):
        await write(linked, "lost")
    await linked.close()
    assert await names(file.reads) == ["thing before", "thing through the link"]


async def test_it_is_logged_once_and_recovers(file: SqliteDatabase, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    with capture_logs() as logs:
        move_all(file.path, str(away / "keystead.db"))
        file._files.check()
        file._files.check()
        with pytest.raises(Unusable):
            await write(file, "lost")
        move_all(str(away / "keystead.db"), file.path)
        file._files.check()
        file._files.check()
    assert [line["event"] for line in logs] == ["database_file_lost", "database_file_back"]
    await write(file, "after")
    await file.ping()
    assert await names(file.reads) == ["thing after", "thing before"]


async def test_no_connection_creates_a_file(file: SqliteDatabase, tmp_path: Path) -> None:
    os.unlink(file.path)
    worker = Worker("late", file.path, file._files, threads=1, query_only=False)
    try:
        with pytest.raises(Unusable):
            await worker.run(lambda connection: connection.total_changes)
    finally:
        worker.close()
    assert os.path.basename(file.path) not in os.listdir(tmp_path)


async def test_without_may_create_no_file_is_created(tmp_path: Path) -> None:
    path = tmp_path / "keystead.db"
    with pytest.raises(errors.StartupError, match=str(path)):
        await SqliteDatabase(str(path), may_create=False).open()
    assert os.listdir(tmp_path) == []


async def test_a_log_without_its_database_is_kept(file: SqliteDatabase, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    shutil.copy(f"{file.path}-wal", f"{other}-wal")
    size = os.stat(f"{other}-wal").st_size
    assert size
    for opening in (SqliteDatabase(str(other)).open(), upgrade(f"sqlite:///{other}")):
        with pytest.raises(errors.StartupError, match=r"its log .* is there"):
            await opening
    assert os.stat(f"{other}-wal").st_size == size


async def test_damaged_pages_are_a_503_and_not_ready(file: SqliteDatabase) -> None:
    await write(file, "more")
    await file.close()
    damage(Path(file.path))
    database = SqliteDatabase(file.path)
    await database.open()
    await database.ping()
    with capture_logs() as logs:
        for tx in (database.reads, database.scans):
            with pytest.raises(Unusable, match=errors.ServiceUnavailable.default_message):
                await names(tx)
        with pytest.raises(Unusable):
            await write(database, "another")
        with pytest.raises(Unusable):
            await database.ping()
    assert [line["event"] for line in logs] == ["database_damaged"]
    await database.close()
