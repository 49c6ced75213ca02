"""A server that hangs does not hang the application that asks it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from keystead_client._single_flight import run_sync
from keystead_client._transport import PoolTimeout
from keystead_client.errors import (
    InvalidCredentials,
    KeysteadError,
    NetworkError,
    NotAuthenticated,
    ServerBusy,
    ServerError,
    Timeout,
)
from keystead_client.places import LENT
from keystead_client.silence import SILENCE
from keystead_client.tokens import Tokens
from keystead_client.wary import LOGINS, WaryServer
from tests.forking import needs_fork
from tests.sdk.hanging import ANN, TOKENS, Hanging, Now


@pytest.fixture
def clock() -> Now:
    return Now()


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


@pytest.fixture
async def wary(hanging: Hanging, clock: Now) -> WaryServer:
    """One whose server hangs, since more than the pause ago."""
    wary = WaryServer(hanging, clock)
    hanging.may_answer.set()
    for _ in range(SILENCE):
        with pytest.raises(Timeout, match="no answer"):
            await wary.me_with("token")
    with pytest.raises(Timeout, match="at the moment"):
        await wary.me_with("token")
    clock.now += 2
    hanging.may_answer.clear()
    assert hanging.asked == SILENCE
    hanging.asked = 0
    return wary


async def heard(wary: WaryServer) -> Any:
    """The answer, or the error that is raised."""
    return (await asyncio.gather(wary.me_with("token"), return_exceptions=True))[0]


async def test_a_slow_moment_sends_nobody_away(hanging: Hanging, clock: Now) -> None:
    wary = WaryServer(hanging, clock)
    hanging.may_answer.set()
    for answer in [Timeout("no answer", was_sent=True)] * (SILENCE - 1) + [ANN]:
        hanging.answer = answer
        assert await heard(wary) is answer
    hanging.answer = Timeout("no answer", was_sent=True)
    for _ in range(SILENCE - 1):
        with pytest.raises(Timeout, match="no answer"):
            await wary.me_with("token")
    hanging.answer = ANN
    assert await wary.me_with("token") == ANN


async def test_logins_that_take_too_long_send_nobody_away(hanging: Hanging, clock: Now) -> None:
    wary = WaryServer(hanging, clock)
    hanging.may_answer.set()
    for _ in range(SILENCE):
        with pytest.raises(Timeout, match="no answer"):
            await wary.login_with("ann@example.com", "slowly")
    hanging.answer = ANN
    assert await wary.me_with("token") == ANN


async def test_while_one_asks_the_others_are_told_at_once(wary: WaryServer, hanging: Hanging, clock: Now) -> None:
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    for ask in (wary.me_with("x"), wary.refresh_with("c"), wary.logout_with("d")):
        with pytest.raises(Timeout, match="at the moment"):
            await ask
    assert hanging.asked == 1
    hanging.may_answer.set()
    with pytest.raises(Timeout, match="no answer"):
        await one
    clock.now += 2
    with pytest.raises(Timeout, match="no answer"):
        await wary.me_with("x")
    assert hanging.asked == 2, "one question after another"


async def test_a_success_ends_the_silence(wary: WaryServer, hanging: Hanging) -> None:
    hanging.answer = ANN
    hanging.may_answer.set()
    assert await wary.me_with("token") is ANN
    hanging.may_answer.clear()
    both = [asyncio.create_task(wary.me_with("token")) for _ in range(2)]
    await asyncio.sleep(0)
    assert hanging.asked == 3, "many at a time again"
    hanging.may_answer.set()
    await asyncio.gather(*both)


@pytest.mark.parametrize("refusal", [NotAuthenticated("over"), NetworkError("refused", was_sent=False)])
async def test_made_up_tokens_end_no_silence(wary: WaryServer, hanging: Hanging, refusal: KeysteadError) -> None:
    """They are refused at once by a server whose storage hangs, as often as somebody likes."""
    hanging.answer = refusal
    hanging.may_answer.set()
    for _ in range(2):
        assert await heard(wary) is refusal, "without a pause: it is an answer"
    hanging.may_answer.clear()
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    with pytest.raises(Timeout, match="at the moment"):
        await wary.me_with("two")
    hanging.may_answer.set()
    await asyncio.gather(one, return_exceptions=True)


async def test_a_login_keeps_nobody_waiting_while_the_server_is_silent(wary: WaryServer, hanging: Hanging) -> None:
    """Whoever likes can begin one: it is not the question for which the others wait. A second is told at once."""
    slow = asyncio.create_task(wary.login_with("eve@example.com", "slowly"))
    await asyncio.sleep(0)
    with pytest.raises(ServerBusy):
        await wary.login_with("eve@example.com", "again")
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    assert hanging.asked == 2
    hanging.answer = NotAuthenticated("over")
    hanging.may_answer.set()
    await asyncio.gather(slow, one, return_exceptions=True)
    assert hanging.asked == 2


@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_login_that_succeeds_ends_the_silence(
    wary: WaryServer, hanging: Hanging, clock: Now, succeeds: bool
) -> None:
    """A refusal does not: it may be given without a look at the storage that hangs, to whoever asks for it."""
    hanging.answer = ANN if succeeds else InvalidCredentials("wrong")
    hanging.may_answer.set()
    await asyncio.gather(wary.login_with("ann@example.com", "at once"), return_exceptions=True)
    hanging.may_answer.clear()
    both = [asyncio.create_task(wary.me_with("token")) for _ in range(2)]
    await asyncio.sleep(0)
    assert hanging.asked == (3 if succeeds else 2)
    hanging.may_answer.set()
    await asyncio.gather(*both, return_exceptions=True)


async def test_a_flood_of_logins_takes_nothing_from_those_who_are_logged_in(hanging: Hanging, clock: Now) -> None:
    wary = WaryServer(hanging, clock)
    flood = [asyncio.create_task(wary.login_with("eve@example.com", str(number))) for number in range(300)]
    await asyncio.sleep(0)
    assert hanging.asked == LOGINS
    refused = [task for task in flood if task.done()]
    assert len(refused) == 300 - LOGINS
    assert {type(task.exception()) for task in refused} == {ServerBusy}
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    assert hanging.asked == LOGINS + 1
    hanging.may_answer.set()
    await asyncio.gather(one, *flood, return_exceptions=True)
    hanging.answer = ANN
    assert await wary.me_with("one") == ANN, "logins that fail are no silence"
    assert await wary.login_with("ann@example.com", "right") == TOKENS, "and all places are free again"


async def test_a_program_that_has_no_connection_left_says_nothing_of_the_server(hanging: Hanging, clock: Now) -> None:
    wary = WaryServer(hanging, clock)
    hanging.may_answer.set()
    hanging.answer = PoolTimeout("all in use", was_sent=False)
    for _ in range(SILENCE + 1):
        with pytest.raises(PoolTimeout):
            await wary.me_with("token")
    hanging.answer = ANN
    assert await wary.me_with("token") == ANN


async def test_tokens_that_are_none_are_the_servers_fault(hanging: Hanging, clock: Now) -> None:
    hanging.may_answer.set()
    hanging.answer, hanging.tokens = ANN, Tokens("a b", "c")
    wary = WaryServer(hanging, clock)
    for ask in (wary.login_with("a", "b"), wary.refresh_with("c")):
        with pytest.raises(ServerError):
            await ask


def test_an_event_loop_that_was_stopped_keeps_nobody_from_asking(clock: Now) -> None:
    """It never ends what it has under way; its place is free after a while."""
    hanging = Hanging()
    wary = WaryServer(hanging, clock)
    for _ in range(SILENCE):
        with pytest.raises(Timeout), wary._silence.heard():
            raise Timeout("no answer", was_sent=True)
    clock.now += 2
    loop = asyncio.new_event_loop()
    left = loop.create_task(wary.me_with("one"))
    loop.run_until_complete(asyncio.sleep(0))
    assert hanging.asked == 1
    hanging.answer = ANN
    hanging.may_answer.set()
    with pytest.raises(Timeout, match="at the moment"):
        asyncio.run(wary.me_with("two"))
    clock.now += LENT
    assert asyncio.run(wary.me_with("two")) == ANN
    assert loop.run_until_complete(left) == ANN
    loop.close()


async def test_one_who_is_cancelled_keeps_nobody_from_asking(wary: WaryServer, hanging: Hanging) -> None:
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait([one])
    hanging.answer = ANN
    hanging.may_answer.set()
    assert await wary.me_with("two") == ANN


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_process_that_was_forked_asks_for_itself(wary: WaryServer, hanging: Hanging) -> None:
    one = asyncio.create_task(wary.me_with("one"))
    await asyncio.sleep(0)
    hanging.answer = ANN
    hanging.may_answer.set()
    assert is_told_in_child(wary)
    await one


def is_told_in_child(wary: WaryServer) -> bool:
    child = os.fork()
    if child == 0:
        # Ends the child if it hangs.
        signal.alarm(10)
        try:
            os._exit(0 if run_sync(wary.me_with("two")) == ANN else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
