"""Servers as separate processes, pinned to one core; wrk runs on the other."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SERVER_CORE, CLIENT_CORE = 0, 1

_SERVE_HELLO = (
    "import sys, uvicorn; uvicorn.run('benchmarks.hello:app', port=int(sys.argv[1]), loop='uvloop', http='httptools',"
    " ws='none', lifespan='off', access_log=False, log_level='warning', server_header=False, proxy_headers=False)"
)


def free_port() -> int:
    """A port of loopback with no listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], port: int, environ: Mapping[str, str], path: str) -> Iterator[tuple[int, float]]:
    """Runs a server until the block ends; yields its pid and the seconds it took until ``path`` answered."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **environ},
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
    )
    try:
        wait_for(f"http://127.0.0.1:{port}{path}", process)
        yield process.pid, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Returns when ``url`` answers."""
    for _ in range(3000):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}") from None
            time.sleep(0.01)
    raise RuntimeError(f"no answer from {url}")


def hello_command(port: int) -> list[str]:
    """The baseline's command."""
    return [sys.executable, "-c", _SERVE_HELLO, str(port)]


def keystead_command(port: int) -> list[str]:
    """The command of Keystead."""
    return [sys.executable, "-m", "keystead", "serve", "--port", str(port)]


def requests_per_second(url: str, body: str, headers: Mapping[str, str], seconds: int, folder: Path) -> float:
    """Requests per second of wrk with 16 connections on the client's core; every response must be a 200."""
    if shutil.which("wrk") is None:
        raise SystemExit("The benchmarks over HTTP need wrk: apt-get install wrk")
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{body}]==]"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script = folder / "request.lua"
    script.write_text("\n".join(lines))
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", str(script), url]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {CLIENT_CORE}),
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout)
    return float(found[1])


def resident_mebibytes(pid: int) -> float:
    """The resident memory of a process, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0
