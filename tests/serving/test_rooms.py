"""Room for requests, by their number and by how long they would wait."""

from __future__ import annotations

import contextlib

import pytest

from vitdsi.serving.errors import ApiError
from vitdsi.serving.rooms import Room


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _answer(room: Room, clock: _Clock, seconds: float, *, times: int = 8) -> None:
    """Answer requests one after the other."""
    for _ in range(times):
        with room():
            clock.now += seconds


def test_there_is_room_for_a_number_of_requests() -> None:
    room = Room(2, "searches")
    with room(), room():
        assert room.taken == 2
        with (
            pytest.raises(ApiError, match="2 searches are in progress, which is the limit") as caught,
            room(),
        ):
            pass
        assert caught.value.status_code == 429
    assert room.taken == 0
    with contextlib.suppress(RuntimeError), room():
        raise RuntimeError
    assert room.taken == 0


def test_who_would_wait_for_too_long_is_refused() -> None:
    clock = _Clock()
    room = Room(64, "searches", patience=3, clock=clock)
    _answer(room, clock, 1.0)
    with room(), room(), contextlib.ExitStack() as others:
        others.enter_context(room())
        with pytest.raises(ApiError, match="would wait for too long") as caught, room():
            pass
        assert caught.value.status_code == 429
        assert caught.value.headers == {"retry-after": "1"}


def test_a_request_that_is_alone_is_never_refused() -> None:
    clock = _Clock()
    room = Room(64, "searches", patience=1, clock=clock)
    _answer(room, clock, 60.0)
    with room():
        pass


def test_idle_time_does_not_count() -> None:
    clock = _Clock()
    room = Room(64, "searches", patience=3.5, clock=clock)
    for _ in range(8):
        _answer(room, clock, 1.0, times=1)
        clock.now += 1000
    with room(), room(), room():
        assert room.wait() == pytest.approx(4, abs=1)


def test_when_nothing_is_answered_any_more_others_are_refused() -> None:
    clock = _Clock()
    room = Room(64, "searches", patience=10, clock=clock)
    _answer(room, clock, 0.1)
    with room():
        with room():
            pass
        clock.now += 100
        with pytest.raises(ApiError), room():
            pass


def test_the_pace_is_that_of_the_last_answers() -> None:
    clock = _Clock()
    room = Room(64, "searches", patience=1, clock=clock)
    _answer(room, clock, 60.0, times=100)
    _answer(room, clock, 0.1, times=32)
    with room(), room():
        pass


def test_before_the_pace_is_known_only_the_number_counts() -> None:
    clock = _Clock()
    room = Room(64, "searches", patience=1, clock=clock)
    _answer(room, clock, 60.0, times=7)
    with room(), room(), room():
        assert room.wait() == 0
