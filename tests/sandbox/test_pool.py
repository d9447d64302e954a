"""A pool hands each box out once and leaves none behind."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from plateau_bench.sandbox import Backend, Sandbox, SandboxError, SandboxSpec
from plateau_bench.sandbox.pool import Pool


class Box:
    """Counts what a pool does with it."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Boxes:
    """A backend of such boxes; the n-th that is asked for fails if n is in `fail`."""

    name = "counted"

    def __init__(self, fail: tuple[int, ...] = ()) -> None:
        self.fail, self.opened, self.asked = fail, [], 0  # type: tuple[int, ...], list[Box], int
        self.lock = threading.Lock()

    def open(self, spec: SandboxSpec | None = None) -> Any:
        with self.lock:
            self.asked += 1
            if self.asked in self.fail:
                raise SandboxError("no more boxes")
            self.opened.append(Box())
            return self.opened[-1]

    def open_program_box(self) -> Any:
        raise NotImplementedError

    def clean(self) -> int:
        return 0


def test_each_box_is_handed_out_once_and_the_rest_is_destroyed() -> None:
    boxes = Boxes()
    with Pool(boxes, size=3) as pool:
        taken: list[Sandbox] = []
        threads = [threading.Thread(target=lambda: taken.append(pool.take())) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({id(box) for box in taken}) == 20
    assert [box.closed for box in boxes.opened if box in taken] == [0] * 20
    rest = [box.closed for box in boxes.opened if box not in taken]
    assert rest == [1] * len(rest)
    assert len(rest) <= 3
    pool.close()
    with pytest.raises(SandboxError, match="closed"):
        pool.take()


def test_a_failure_reaches_who_takes_and_the_pool_goes_on() -> None:
    with Pool(Boxes(fail=(1,)), size=1) as pool:
        with pytest.raises(SandboxError, match="no more boxes"):
            pool.take()
        pool.take().close()


def test_waiting_takers_are_released_by_close() -> None:
    class Slow(Boxes):
        gate = threading.Event()

        def open(self, spec: SandboxSpec | None = None) -> Any:
            self.gate.wait(10)
            raise SandboxError("too late")

    pool, ends = Pool(Slow(), size=1), []

    def taker() -> None:
        for _ in range(3):
            with pytest.raises(SandboxError):
                pool.take()
            ends.append(1)

    thread = threading.Thread(target=taker)
    thread.start()
    Slow.gate.set()
    pool.close()
    thread.join(10)
    assert len(ends) == 3


def test_size_is_checked() -> None:
    with pytest.raises(ValueError, match="size"):
        Pool(Boxes(), size=0)


@pytest.fixture
def warm(backend: Backend) -> Iterator[Pool]:
    with Pool(backend, SandboxSpec(memory_mb=128), size=2) as pool:
        yield pool


def test_pooled_boxes_are_fresh(warm: Pool) -> None:
    for _ in range(3):
        with closing(warm.take()) as box:
            assert box.run("ls; touch mine").stdout == ""
