"""A brand's app on a small server: takes the token from the fragment and redeems it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

WELCOME = """<!doctype html>
<title>The app</title>
<p id="who">…</p>
<script>
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const ask = (query, variables, authorization) => fetch("API/graphql", {
  method: "POST",
  headers: {"content-type": "application/json", ...(authorization ? {authorization} : {})},
  body: JSON.stringify({query, variables}),
}).then((answer) => answer.json());
const redeem = "mutation ($token: String!) { redeemMagicLink(token: $token) { data { auth_token } } }";
ask(redeem, {token})
  .then((answer) => ask("{ me { email verified } }", {}, answer.data.redeemMagicLink.data.auth_token))
  .then((answer) => { document.querySelector("#who").textContent = JSON.stringify(answer.data.me); });
</script>
"""


class AppSite:
    """Pages of another origin; ``requests`` are the request lines and headers that its server has received."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.pages: dict[str, str] = {}
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """Another origin than the server's, on the same site."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def far_url(self) -> str:
        """The same pages on another site."""
        return f"http://localhost:{self.port}"

    def welcome(self, api: str) -> str:
        """The address of the page that redeems what comes in its fragment."""
        self.pages["/welcome"] = WELCOME.replace("API", api)
        return f"{self.url}/welcome"


@contextmanager
def app_site() -> Iterator[AppSite]:
    """The app, for the length of a test."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append(f"{self.requestline}\n{self.headers}")
            body = site.pages.get(self.path.partition("?")[0], "").encode()
            self.send_response(200 if body else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        site = AppSite(http.server_port)
        thread = Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield site
        http.shutdown()
        thread.join()
