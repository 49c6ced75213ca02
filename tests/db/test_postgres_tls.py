"""TLS to PostgreSQL: what is wrong with which certificate, in one line."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from keystead import errors
from tests.certificates import Authority, make_authority
from tests.db.things import postgres
from tests.postgres_server import UNPRIVILEGED, postgres_server


@pytest.fixture(scope="module")
def url(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose certificate is good for localhost and for no address."""
    if os.environ.get("KEYSTEAD_TEST_POSTGRES"):
        pytest.skip("needs a server with a certificate of the tests, not the one that KEYSTEAD_TEST_POSTGRES names")
    # The server runs as another user, who cannot enter pytest's folders.
    file = Path("/tmp") / f"keystead-{os.getpid()}-{tmp_path_factory.mktemp('tls').name}.pem"
    shutil.copy(authority.server_file("localhost"), file)
    file.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(file, UNPRIVILEGED, UNPRIVILEGED)
    try:
        with postgres_server("ssl=on", f"ssl_cert_file={file}", f"ssl_key_file={file}") as server:
            yield f"{server}/postgres".replace("127.0.0.1", "localhost")
    finally:
        file.unlink()


async def why_not(url: str) -> str:
    with pytest.raises(errors.StartupError) as refused:
        await postgres(url).open()
    assert "\n" not in refused.value.message
    return refused.value.message


async def test_a_valid_certificate_is_accepted_and_a_host_name_mismatch_explained(
    url: str, authority: Authority
) -> None:
    options = f"?sslmode=verify-full&sslrootcert={authority.bundle}"
    database = postgres(f"{url}{options}")
    await database.open()
    await database.ping()
    await database.close()
    line = await why_not(url.replace("localhost", "127.0.0.1") + options)
    assert "the server's certificate is rejected: IP address mismatch" in line
    assert f"sslrootcert={authority.bundle}" in line


async def test_an_untrusted_authority_is_named(url: str, tmp_path: Path) -> None:
    stranger = make_authority(tmp_path / "stranger").bundle
    for mode in ("verify-ca", "verify-full"):
        line = await why_not(f"{url}?sslmode={mode}&sslrootcert={stranger}")
        assert "the server's certificate is rejected: " in line
        assert f"(checked with sslrootcert={stranger})" in line


@pytest.mark.parametrize("parameter", ["sslrootcert", "sslcrl", "sslcert"])
async def test_a_file_that_is_missing_or_broken_is_named(
    url: str, authority: Authority, tmp_path: Path, parameter: str
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    root = "" if parameter == "sslrootcert" else f"&sslrootcert={authority.bundle}"
    for path, what in ((tmp_path / "missing.pem", "No such file"), (broken, "PEM")):
        line = await why_not(f"{url}?sslmode=verify-full{root}&{parameter}={path}")
        assert f"{parameter}={path}" in line
        assert what in line


async def test_a_missing_default_root_certificate_and_a_server_without_tls_are_named(
    url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "rejected SSL upgrade" in await why_not(f"{postgres_url}/postgres?sslmode=require")
    monkeypatch.setenv("HOME", "/nonexistent")
    line = await why_not(f"{url}?sslmode=verify-full")
    assert "/nonexistent/.postgresql/root.crt" in line
    assert "Set sslrootcert=FILE, or sslrootcert=system" in line


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_server_without_direct_tls_is_explained(authority: Authority, is_read: bool) -> None:
    """PostgreSQL before 17 closes the connection without a word."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_read:
            await reader.read(4096)
        writer.close()

    options = f"sslmode=verify-full&sslrootcert={authority.bundle}&sslnegotiation=direct"
    async with await asyncio.start_server(close, "127.0.0.1", 0) as old:
        port = old.sockets[0].getsockname()[1]
        line = await why_not(f"postgresql://someone@127.0.0.1:{port}/postgres?{options}")
    assert line.endswith("closed the connection during TLS; sslnegotiation=direct needs PostgreSQL 17")
    assert "sslnegotiation" not in await why_not(f"postgresql://someone@127.0.0.1:1/postgres?{options}")
