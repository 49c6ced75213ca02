"""What bounds the waits and the work of an application: places, connections, and repetitions."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from keystead_client._transport import PoolTimeout
from keystead_client.async_client import AsyncClient
from keystead_client.errors import ServerBusy
from keystead_client.places import Places
from keystead_client.wary import WaryServer
from tests.forking import needs_fork


def test_threads_share_the_places() -> None:
    clock = [100.0]
    places = Places(lambda: clock[0])
    together, asked = threading.Barrier(8), threading.Barrier(8)

    def come() -> bool:
        together.wait(10)
        with places.one_of(3) as is_free:
            asked.wait(10)
            return is_free

    with ThreadPoolExecutor(8) as pool:
        assert sum(future.result(10) for future in [pool.submit(come) for _ in range(8)]) == 3
    with places.one_of(1) as is_free:
        assert is_free, "all were given back"
        clock[0] -= 60
        with places.one_of(1) as is_free:
            assert is_free, "a clock that was put back"


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_begins_with_all_places() -> None:
    places = Places(lambda: 100.0)
    with places.one_of(1), places._lock:
        child = os.fork()
        if child == 0:
            # Ends the child if it hangs.
            signal.alarm(10)
            with places.one_of(1) as is_free:
                os._exit(0 if is_free else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_which_error_tells_that_no_connection_is_left() -> None:
    def crowded(request: httpx.Request) -> httpx.Response:
        raise httpx.PoolTimeout("crowded")

    transport = httpx.MockTransport(crowded)
    async with AsyncClient("https://id.example.com", transport=transport, retries=0) as client:
        with pytest.raises(PoolTimeout) as raised:
            await client.me_with("token")
    assert not raised.value.was_sent


@pytest.mark.parametrize("seconds", [0, 1, 5])
async def test_no_worker_waits_for_a_server_that_is_busy(seconds: int) -> None:
    """Whichever client asks: one that was given to the middleware, too."""
    asked: list[httpx.Request] = []

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        error = {"message": "busy", "extensions": {"code": "SERVER_BUSY", "retryAfter": seconds}}
        return httpx.Response(503, json={"errors": [error]})

    async with AsyncClient("https://id.example.com", transport=httpx.MockTransport(busy), retries=1) as client:
        wary = WaryServer(client, time.time)
        for ask in (wary.me_with("token"), wary.refresh_with("token"), wary.login_with("a", "b")):
            asked.clear()
            with pytest.raises(ServerBusy) as raised:
                await ask
            assert len(asked) == (1 if seconds else 2)
            assert raised.value.retry_after == seconds
