"""Debian's nginx as a reverse proxy before nodes of the tests."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.postgres_server import free_port
from tests.programs import require_program

READY_WITHIN = 10.0

# Everything that is not said here is nginx's default: HTTP/1.0 to the upstream, a new connection for each request, a
# body of up to 1 MiB, an upstream that failed once left out for ten seconds.
_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log info;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    upstream keystead {{
        {upstream}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://keystead;
            {location}
        }}
    }}
}}
"""

KEEPALIVE = ("keepalive 16;", 'proxy_http_version 1.1; proxy_set_header Connection "";')
"""Lines of the upstream and of the location by which nginx keeps its connections to the upstream."""


@contextmanager
def nginx(folder: Path, ports: Sequence[int], lines: tuple[str, str] = ("", "")) -> Iterator[str]:
    """An nginx before the nodes on these ports of the loopback, for the length of a test; its URL."""
    program = require_program("nginx", package="nginx")
    port = free_port()
    upstream = "\n        ".join([*(f"server 127.0.0.1:{node};" for node in ports), lines[0]])
    path = folder / "nginx.conf"
    path.write_text(_CONFIGURATION.format(folder=folder, port=port, upstream=upstream, location=lines[1]))
    log = folder / "nginx-error.log"
    process = subprocess.Popen(
        [program, "-p", folder, "-e", log, "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        pause = threading.Event()
        deadline = time.monotonic() + READY_WITHIN
        while not (folder / "nginx.pid").exists() or not (folder / "nginx.pid").read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            pause.wait(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
