"""Fair shares: nobody is limited while alone, and nobody can shut the others out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from keystead.crypto.hash_queue import HashQueue, Share

SIZE = 64


@dataclass(eq=False)
class Job:
    share: Share | None


def of(prefix: str, brand: str = "brand") -> Job:
    return Job(Share(brand, prefix))


def filled(count: int, prefix: str = "a", brand: str = "brand") -> tuple[HashQueue[Job], list[Job]]:
    queue: HashQueue[Job] = HashQueue(SIZE)
    jobs = [of(prefix, brand) for _ in range(count)]
    assert [queue.put(job) for job in jobs] == [None] * count
    return queue, jobs


def test_first_in_first_out() -> None:
    queue, jobs = filled(3)
    assert [queue.take() for _ in range(4)] == [*jobs, None]


def test_one_alone_may_fill_it_and_no_more() -> None:
    queue, _ = filled(SIZE)
    newcomer = of("a")
    assert queue.put(newcomer) is newcomer
    assert len(queue) == SIZE


def test_an_address_has_a_quarter_while_another_waits() -> None:
    queue, _ = filled(1, prefix="other", brand="other")
    for _ in range(SIZE // 4):
        assert queue.put(of("a")) is None
    refused = of("a")
    assert queue.put(refused) is refused
    assert queue.put(of("b")) is None


def test_a_brand_has_half_while_another_waits() -> None:
    queue, _ = filled(1, prefix="other", brand="other")
    for number in range(SIZE // 2):
        assert queue.put(of(f"address {number}")) is None
    refused = of("one more")
    assert queue.put(refused) is refused


def test_addresses_of_one_brand_alone_may_fill_it() -> None:
    queue: HashQueue[Job] = HashQueue(SIZE)
    for number in range(SIZE):
        assert queue.put(of(f"address {number}")) is None


def test_a_full_queue_makes_room_for_another_one() -> None:
    queue, jobs = filled(SIZE)
    newcomer = of("b")
    assert queue.put(newcomer) is jobs[-1]
    assert len(queue) == SIZE
    assert queue.put(of("c")) is jobs[-2]


def test_a_flood_keeps_no_more_than_its_share_against_others() -> None:
    queue, jobs = filled(SIZE)
    sent_away = [queue.put(of(f"address {number}", f"brand {number % 4}")) for number in range(SIZE // 4 * 3)]
    assert sent_away == jobs[: SIZE // 4 - 1 : -1]
    refused = of("late", "late brand")
    assert queue.put(refused) is refused


def test_a_full_queue_where_everyone_has_a_fair_share_sends_the_newcomer_away() -> None:
    queue: HashQueue[Job] = HashQueue(8)
    for number in range(8):
        queue.put(of(f"address {number}", f"brand {number % 2}"))
    newcomer = of("late", "late brand")
    assert queue.put(newcomer) is newcomer


def test_without_a_share_there_is_no_limit_but_the_size() -> None:
    queue: HashQueue[Job] = HashQueue(SIZE)
    queue.put(of("a"))
    for _ in range(SIZE - 1):
        assert queue.put(Job(None)) is None
    refused = Job(None)
    assert queue.put(refused) is refused


def test_who_withdraws_leaves_the_others_in_order() -> None:
    queue, jobs = filled(3)
    assert queue.withdraw(jobs[1])
    assert not queue.withdraw(jobs[1])
    assert queue.empty() == [jobs[0], jobs[2]]
    assert len(queue) == 0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_small_queue_still_lets_everyone_in(size: int) -> None:
    queue: HashQueue[Job] = HashQueue(size)
    for number in range(size):
        assert queue.put(of(f"address {number}", f"brand {number}")) is None
