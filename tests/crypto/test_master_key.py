"""The master key: loading, validation, derivation."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from string import ascii_letters, digits
from typing import Any
from uuid import UUID

import pytest

from keystead.crypto.master_key import MasterKey, is_guessable, key_file_beside, load_master_key
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
        MasterKey.from_text(random_bytes(length))
    else:
        with pytest.raises(SettingsError, match=r"KEYSTEAD_MASTER_KEY: .* 32 bytes"):
            MasterKey.from_text(random_bytes(length) + b" " * 32)


def random_bytes(length: int) -> bytes:
    """The same for each length; no white space at the end."""
    return Random(length).randbytes(length)[:-1] + b"x" if length else b""


GUESSABLE = {
    "zeros": b"0" * 64,
    "one letter": b"a" * 32,
    "zero bytes": bytes(32),
    "a repeated word": b"password" * 4,
    "a repeated placeholder": b"changeme-changeme-changeme-changeme",
    "a placeholder with numbers": b"changeme1234567890123456789012345678",
    "a sentence of placeholders": b"please-replace-this-default-password",
    "in capitals": b"PLEASE_CHANGE_ME_IN_PRODUCTION_TO_A_RANDOM_SECRET",
    "your secret here": b"your-super-secret-master-key-here",
    "written together": b"changethissecretkeyinproduction!!",
    "do not use": b"development-master-key-do-not-use!!",
    "of a compose file": b"insecure-local-demo-key-for-compose-file",
    "a sequence of letters": b"abcdefghijklmnopqrstuvwxyzabcdef",
    "letters and digits": b"abcdefghijklmnopqrstuvwxyz0123456789",
    "falling": b"zyxwvutsrqponmlkjihgfedcba9876543210",
    "hexadecimal digits": b"0123456789abcdef0123456789abcdef",
    "pairs of digits": b"00112233445566778899aabbccddeeff",
    "bytes in order": bytes(range(32)),
    "the keyboard": b"qwertyuiopasdfghjklzxcvbnm123456",
    "dead beef": b"deadbeef" * 8,
    "base64 of zeros": base64.b64encode(bytes(32)),
    "the digest of nothing": hashlib.sha256(b"").hexdigest().encode(),
    "the digest of nothing, shorter": hashlib.md5(b"", usedforsecurity=False).hexdigest().encode(),
    "a UUID of zeros, and more": b"00000000-0000-0000-0000-000000000000",
}


@pytest.mark.parametrize("name", GUESSABLE)
@pytest.mark.parametrize("around", [b"%b", b"%b \n"])
def test_guessable_keys_are_recognised(name: str, around: bytes) -> None:
    key = MasterKey.from_text(around % GUESSABLE[name], origin="KEYSTEAD_MASTER_KEY_FILE")
    assert (key.is_guessable, key.origin) == (True, "KEYSTEAD_MASTER_KEY_FILE")


WORDS = (
    "acid basil cargo delta ember fable gravel harbor ivory jungle kettle lemon marble nectar olive pepper quartz river"
    " saddle timber umber velvet walnut yellow zephyr anchor bishop candle dragon engine forest garden hammer island"
).split()


def test_random_keys_and_passphrases_are_accepted() -> None:
    source = Random(9)
    for _ in range(500):
        raw = source.randbytes(source.randint(24, 64))
        keys = [raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]
        keys += [str(UUID(bytes=raw[:16])), "".join(source.choices(ascii_letters + digits, k=32))]
        keys += [
            source.choice("- _.").join(source.sample(WORDS, 7)),
            "my secret key: " + " ".join(source.sample(WORDS, 5)),
        ]
        for key in keys:
            assert not is_guessable(key.encode()), key
        assert not is_guessable(raw.ljust(32, b"x"))


def test_the_derivation_depends_on_the_purpose_and_never_changes() -> None:
    key = MasterKey.from_text(TEXT.encode())
    assert key.derive("refresh") != key.derive("signing-keys")
    assert key.derive("refresh") == MasterKey.from_text(TEXT.encode()).derive("refresh")
    assert len(key.derive("refresh", 64)) == 64
    assert MasterKey(b"0123456789abcdef0123456789abcdef").derive("signing-keys").hex() == VECTOR


def test_the_check_value_identifies_a_key_without_revealing_it() -> None:
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
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (Settings(master_key=TEXT, master_key_file="/key"), "not both"),
            (Settings(database_url="postgresql://localhost/keystead"), "KEYSTEAD_MASTER_KEY: required"),
            (Settings(database_url="sqlite:////absent/keystead.db"), "cannot read or make the master key file"),
        ],
        ids=["both", "none", "no folder"],
    )
    def test_errors_are_one_line(self, settings: Settings, message: str) -> None:
        with pytest.raises(StartupError, match=message):
            load_master_key(settings)

    def test_from_the_setting_or_a_named_file_of_any_bytes(self, tmp_path: Path) -> None:
        given = load_master_key(Settings(master_key=TEXT + "\n"))
        assert given.check_value() == MasterKey.from_text(TEXT.encode()).check_value()
        file, material = tmp_path / "key", random_bytes(40)
        file.write_bytes(material + b"\n")
        key = load_master_key(Settings(master_key_file=str(file)))
        assert key.check_value() == MasterKey.from_text(material).check_value()

    def test_a_missing_or_short_named_file_is_one_clear_line(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="KEYSTEAD_MASTER_KEY_FILE: cannot read"):
            load_master_key(Settings(master_key_file=str(tmp_path / "absent")))
        (tmp_path / "short").write_text("short")
        with pytest.raises(SettingsError, match=r"KEYSTEAD_MASTER_KEY_FILE: .* 32 bytes"):
            load_master_key(Settings(master_key_file=str(tmp_path / "short")))


class TestFileBesideSqlite:
    def test_the_file_is_created_once_with_mode_0600(self, tmp_path: Path) -> None:
        settings = sqlite(tmp_path)
        first, again = load_master_key(settings), load_master_key(settings)
        assert first.check_value() == again.check_value()
        path = key_file_beside(settings.database_url)
        assert path is not None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.listdir(tmp_path) == ["keystead.db.master-key"]

    def test_concurrent_workers_share_one_key(self, tmp_path: Path) -> None:
        settings = sqlite(tmp_path)
        with ThreadPoolExecutor(8) as pool:
            keys = list(pool.map(lambda _: load_master_key(settings).check_value(), range(16)))
        assert len(set(keys)) == 1
        assert os.listdir(tmp_path) == ["keystead.db.master-key"]

    @pytest.mark.parametrize(
        ("change", "message"), [({"mode": 0o644}, "can be read by others"), ({"text": ""}, "32 bytes")]
    )
    def test_a_file_readable_by_others_or_emptied_is_rejected(
        self, tmp_path: Path, change: dict[str, Any], message: str
    ) -> None:
        settings, file = sqlite(tmp_path), tmp_path / "keystead.db.master-key"
        load_master_key(settings)
        file.chmod(change.get("mode", 0o600))
        file.write_text(change.get("text", file.read_text("latin-1")), "latin-1")
        with pytest.raises(StartupError, match=message):
            load_master_key(settings)

    def test_a_setting_takes_precedence_over_the_file(self, tmp_path: Path) -> None:
        settings = Settings(database_url=f"sqlite:///{tmp_path / 'keystead.db'}", master_key=TEXT)
        load_master_key(settings)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("sqlite:///keystead.db", "keystead.db.master-key"),
            ("sqlite:////var/lib/keystead.db", "/var/lib/keystead.db.master-key"),
            ("postgresql://localhost/keystead", None),
        ],
    )
    def test_where_it_is(self, url: str, path: str | None) -> None:
        assert key_file_beside(url) == (None if path is None else Path(path))
