"""The master key: made once, at least 32 bytes, never shown."""

from __future__ import annotations

import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keystead.crypto.master_key import MasterKey, key_file_beside, load_master_key
from keystead.errors import SettingsError, StartupError
from keystead.settings import Settings

TEXT = "correct horse battery staple, and more"
VECTOR = "799891f3090eb78cd82029da56966abef2c6f8b024d8b04cce5cc7b565390723"


def sqlite(folder: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{folder / 'keystead.db'}")


def test_trailing_white_space_is_stripped_and_nothing_else() -> None:
    plain = MasterKey.from_text(b" " + TEXT.encode())
    assert MasterKey.from_text(b" " + TEXT.encode() + b" \r\n").check_value() == plain.check_value()
    assert MasterKey.from_text(TEXT.encode()).check_value() != plain.check_value()


@pytest.mark.parametrize(("length", "is_taken"), [(0, False), (31, False), (32, True), (500, True)])
def test_it_has_at_least_32_bytes(length: int, is_taken: bool) -> None:
    if is_taken:
        MasterKey.from_text(b"x" * length)
    else:
        with pytest.raises(SettingsError, match=r"KEYSTEAD_MASTER_KEY: .* 32 bytes"):
            MasterKey.from_text(b"x" * length + b" " * 32)


def test_keys_for_two_purposes_differ_and_stay_the_same() -> None:
    key = MasterKey.from_text(TEXT.encode())
    assert key.derive("refresh") != key.derive("signing-keys")
    assert key.derive("refresh") == MasterKey.from_text(TEXT.encode()).derive("refresh")
    assert len(key.derive("refresh", 64)) == 64


def test_the_derivation_never_changes() -> None:
    """A vector: were it to change, no installation could read its own keys any more."""
    assert MasterKey.from_text(b"0123456789abcdef0123456789abcdef").derive("signing-keys").hex() == VECTOR


def test_the_check_value_tells_keys_apart_and_is_no_key() -> None:
    key = MasterKey.from_text(TEXT.encode())
    assert key.check_value() != MasterKey.from_text(TEXT.encode() + b"!").check_value()
    assert len(key.check_value()) == 64
    assert TEXT not in key.check_value()


def test_it_is_hidden() -> None:
    key = MasterKey.from_text(TEXT.encode())
    assert repr(key) == str(key) == "MasterKey(hidden)"
    with pytest.raises(TypeError):
        pickle.dumps(key)


class TestLoading:
    def test_from_the_setting(self) -> None:
        assert load_master_key(Settings(master_key=TEXT + "\n")).check_value() == (
            MasterKey.from_text(TEXT.encode()).check_value()
        )

    def test_from_a_named_file_of_any_bytes(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_bytes(b"\xff" * 40 + b"\n")
        key = load_master_key(Settings(master_key_file=str(file)))
        assert key.check_value() == MasterKey.from_text(b"\xff" * 40).check_value()

    def test_a_missing_or_short_named_file_is_one_clear_line(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="KEYSTEAD_MASTER_KEY_FILE: cannot read"):
            load_master_key(Settings(master_key_file=str(tmp_path / "absent")))
        (tmp_path / "short").write_text("short")
        with pytest.raises(SettingsError, match=r"KEYSTEAD_MASTER_KEY_FILE: .* 32 bytes"):
            load_master_key(Settings(master_key_file=str(tmp_path / "short")))

    def test_both_at_once_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="not both"):
            load_master_key(Settings(master_key=TEXT, master_key_file=str(tmp_path / "key")))

    def test_postgresql_needs_one(self) -> None:
        with pytest.raises(SettingsError, match="KEYSTEAD_MASTER_KEY: required"):
            load_master_key(Settings(database_url="postgresql://localhost/keystead"))


class TestFileBesideSqlite:
    def test_it_is_made_once_for_the_owner_alone(self, tmp_path: Path) -> None:
        settings = sqlite(tmp_path)
        first, again = load_master_key(settings), load_master_key(settings)
        assert first.check_value() == again.check_value()
        path = key_file_beside(settings.database_url)
        assert path is not None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.listdir(tmp_path) == ["keystead.db.master-key"]

    def test_workers_that_start_together_share_one(self, tmp_path: Path) -> None:
        settings = sqlite(tmp_path)
        with ThreadPoolExecutor(8) as pool:
            keys = list(pool.map(lambda _: load_master_key(settings).check_value(), range(16)))
        assert len(set(keys)) == 1
        assert os.listdir(tmp_path) == ["keystead.db.master-key"]

    def test_two_installations_have_two(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        one, other = load_master_key(sqlite(tmp_path / "a")), load_master_key(sqlite(tmp_path / "b"))
        assert one.check_value() != other.check_value()

    def test_one_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        settings = sqlite(tmp_path)
        load_master_key(settings)
        (tmp_path / "keystead.db.master-key").chmod(0o644)
        with pytest.raises(StartupError, match="can be read by others"):
            load_master_key(settings)

    def test_an_emptied_one_is_not_made_anew(self, tmp_path: Path) -> None:
        settings = sqlite(tmp_path)
        load_master_key(settings)
        (tmp_path / "keystead.db.master-key").write_text("")
        with pytest.raises(SettingsError, match="32 bytes"):
            load_master_key(settings)

    def test_a_folder_that_is_not_there_is_one_clear_line(self, tmp_path: Path) -> None:
        with pytest.raises(StartupError, match="cannot read or make the master key file"):
            load_master_key(sqlite(tmp_path / "absent"))

    def test_a_setting_comes_before_it(self, tmp_path: Path) -> None:
        settings = Settings(database_url=f"sqlite:///{tmp_path / 'keystead.db'}", master_key=TEXT)
        load_master_key(settings)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("sqlite:///keystead.db", "keystead.db.master-key"),
            ("sqlite:////var/lib/keystead.db", "/var/lib/keystead.db.master-key"),
            ("sqlite:///keystead.db?mode=rwc", "keystead.db.master-key"),
            ("postgresql://localhost/keystead", None),
        ],
    )
    def test_where_it_is(self, url: str, path: str | None) -> None:
        assert key_file_beside(url) == (None if path is None else Path(path))
