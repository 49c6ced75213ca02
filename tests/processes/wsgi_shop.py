"""The same for WSGI, in threads or in processes: ``python -m tests.processes.wsgi_shop threads --port N``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from socketserver import ForkingMixIn, ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from keystead_client.wsgi import KeysteadMiddleware, auth


class Threads(ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    request_queue_size = 64
    daemon_threads = True


class Processes(ForkingMixIn, WSGIServer):
    """A process for each request, forked from one that has made the middleware: they have no memory in common."""

    request_queue_size = 64


def shop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Whether it is ready, to anybody; whose orders these are, to who is logged in."""
    if environ["PATH_INFO"] == "/auth/ready":
        start_response("204 No Content", [])
        return []
    body = json.dumps(auth.require_auth()["id"]).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=["threads", "processes"])
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    server = Threads if given.way == "threads" else Processes
    make_server("127.0.0.1", given.port, KeysteadMiddleware(shop), server).serve_forever()
