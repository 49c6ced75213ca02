"""Fair shares: no limit for a single prefix, and no prefix or brand can starve the others."""

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


@pytest.mark.parametrize(("address", "slots"), [("a", SIZE // 4), ("address {}", SIZE // 2)])
def test_an_address_has_a_quarter_and_a_brand_half_while_another_waits(address: str, slots: int) -> None:
    queue, _ = filled(1, prefix="other", brand="other")
    assert [queue.put(of(address.format(number))) for number in range(slots)] == [None] * slots
    rejected = of(address)
    assert queue.put(rejected) is rejected
    assert queue.put(of("b", "another brand")) is None


def test_a_single_prefix_may_fill_the_queue_until_another_evicts_it() -> None:
    queue, jobs = filled(SIZE)
    assert queue.put(same := of("a")) is same
    assert len(queue) == SIZE
    new = of("b")
    assert queue.put(new) is jobs[-1]
    assert len(queue) == SIZE
    assert queue.put(of("c")) is jobs[-2]


def test_a_flood_keeps_no_more_than_its_share_against_others() -> None:
    queue, jobs = filled(SIZE)
    evicted = [queue.put(of(f"address {number}", f"brand {number % 4}")) for number in range(SIZE // 4 * 3)]
    assert evicted == jobs[: SIZE // 4 - 1 : -1]
    rejected = of("late", "late brand")
    assert queue.put(rejected) is rejected


def test_a_full_queue_where_everyone_has_a_fair_share_rejects_the_new_job() -> None:
    queue: HashQueue[Job] = HashQueue(8)
    for number in range(8):
        queue.put(of(f"address {number}", f"brand {number % 2}"))
    new = of("late", "late brand")
    assert queue.put(new) is new


def test_without_a_share_there_is_no_limit_but_the_size() -> None:
    queue: HashQueue[Job] = HashQueue(SIZE)
    queue.put(of("a"))
    for _ in range(SIZE - 1):
        assert queue.put(Job(None)) is None
    rejected = Job(None)
    assert queue.put(rejected) is rejected


def test_withdrawing_keeps_the_order() -> None:
    queue, jobs = filled(3)
    assert queue.withdraw(jobs[1])
    assert not queue.withdraw(jobs[1])
    assert queue.clear() == [jobs[0], jobs[2]]
    assert len(queue) == 0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_small_queue_has_room_for_each(size: int) -> None:
    queue: HashQueue[Job] = HashQueue(size)
    for number in range(size):
        assert queue.put(of(f"address {number}", f"brand {number}")) is None
