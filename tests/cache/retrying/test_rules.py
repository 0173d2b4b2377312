"""The decisions of a transfer, without network or disk, and the interval sets they rest on."""

from __future__ import annotations

import dataclasses
import itertools
from email.utils import formatdate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allen_ecephys.cache.retrying.intervals import IntervalSet, join_close, split_long
from allen_ecephys.cache.retrying.rules import (
    AnswerAction,
    CachedFileAction,
    FailureAction,
    TransferPolicy,
    below_floor,
    decide_answer,
    decide_cached_file,
    decide_failure,
    is_strong_etag,
    parse_retry_after,
    segments,
    wait_before_retry,
)

POLICY = TransferPolicy()
USE, VERIFY, FETCH, ASIDE = CachedFileAction


@pytest.mark.parametrize(
    ("found", "expected", "unchanged", "enough", "action"),
    [
        (None, None, False, True, FETCH),
        (None, 10, False, True, FETCH),
        (10, 10, True, True, USE),
        (10, None, True, True, USE),
        (10, 10, True, False, VERIFY),  # checked before, but not against the digest known now
        (10, 10, False, True, VERIFY),
        (10, None, False, True, VERIFY),
        (9, 10, True, True, ASIDE),
        (11, 10, False, False, ASIDE),
        (0, 10, False, True, ASIDE),
    ],
)
def test_cached_file(
    found: int | None, expected: int | None, unchanged: bool, enough: bool, action: CachedFileAction
) -> None:
    assert decide_cached_file(found, expected, unchanged_since_check=unchanged, check_is_enough=enough) is action


@pytest.mark.parametrize(
    ("status", "asked", "start", "total", "size", "action"),
    [
        (206, 5, 5, 10, 10, AnswerAction.TAKE_RANGE),
        (206, 5, 5, None, 10, AnswerAction.TAKE_RANGE),
        (206, 5, 4, 10, 10, AnswerAction.START_OVER),
        (206, 5, 6, 10, 10, AnswerAction.START_OVER),
        (206, 5, 5, 11, 10, AnswerAction.START_OVER),
        (206, None, 0, 10, 10, AnswerAction.START_OVER),
        (200, 5, 0, 10, 10, AnswerAction.TAKE_WHOLE),
        (200, 5, 0, None, 10, AnswerAction.TAKE_WHOLE),
        (200, 5, 0, 1440, 10, AnswerAction.WRONG_SIZE),
        (200, 0, 0, 10, None, AnswerAction.TAKE_WHOLE),
        (416, 5, None, None, 10, AnswerAction.START_OVER),
        (404, 5, None, None, 10, AnswerAction.NOT_FOUND),
        (410, 5, None, None, 10, AnswerAction.NOT_FOUND),
        (401, 5, None, None, 10, AnswerAction.REFUSED),
        (403, 5, None, None, 10, AnswerAction.REFUSED),
        (400, 5, None, None, 10, AnswerAction.FAIL),
        *[(status, 5, None, None, 10, AnswerAction.RETRY) for status in (408, 425, 429, 500, 502, 503, 504)],
    ],
)
def test_answer(
    status: int, asked: int | None, start: int | None, total: int | None, size: int | None, action: AnswerAction
) -> None:
    decided = decide_answer(status, asked_start=asked, answered_start=start, answered_total=total, expected_size=size)
    assert decided is action


def test_failures_are_counted_without_progress() -> None:
    assert decide_failure(7, ever_answered=True, policy=POLICY) is FailureAction.RETRY
    assert decide_failure(8, ever_answered=True, policy=POLICY) is FailureAction.GIVE_UP
    assert decide_failure(2, ever_answered=False, policy=POLICY) is FailureAction.RETRY
    assert decide_failure(3, ever_answered=False, policy=POLICY) is FailureAction.GIVE_UP


def test_waits_grow_to_a_cap_and_spread() -> None:
    rng = Random(0)
    for attempt in range(1, 40):
        waits = [wait_before_retry(attempt, None, policy=POLICY, random=rng) for _ in range(200)]
        ceiling = min(30.0, 0.5 * 2**attempt)
        assert 0 <= min(waits) < 0.2 * ceiling
        assert 0.8 * ceiling < max(waits) <= ceiling


@pytest.mark.parametrize(("asked", "low", "high"), [(17.0, 17, 30), (1e9, 300, 300), (0.0, 0, 1)])
def test_retry_after_is_obeyed_up_to_its_cap(asked: float, low: float, high: float) -> None:
    assert low <= wait_before_retry(1, asked, policy=POLICY, random=Random(1)) <= high


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 30, None),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), None),
        ("Thu, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_read_or_ignored(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("etag", "strong"), [('"a"', True), ('W/"a"', False), ("a", False), ('""', False), (None, False), ('"', False)]
)
def test_strong_etags(etag: str | None, strong: bool) -> None:
    assert is_strong_etag(etag) is strong


def test_floor_is_judged_over_a_whole_window() -> None:
    assert not below_floor(0, 59.9, POLICY)
    assert below_floor(59_000, 60.0, POLICY)
    assert not below_floor(60_000, 60.0, POLICY)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**9)), max_size=5), st.integers(1, 16))
def test_segments_cover_exactly_what_is_missing(runs: list[tuple[int, int]], connections: int) -> None:
    missing = list(IntervalSet((start, start + length) for start, length in runs))
    policy = dataclasses.replace(POLICY, connections=connections)
    pieces = segments(missing, policy)
    assert list(IntervalSet(pieces)) == list(IntervalSet(missing))
    assert sum(stop - start for start, stop in pieces) == sum(stop - start for start, stop in missing)


# --- intervals ----------------------------------------------------------------------------------------------------

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(INTERVALS, st.integers(0, 70), st.integers(0, 70))
def test_interval_set_equals_a_set_of_integers(pairs: list[tuple[int, int]], start: int, stop: int) -> None:
    intervals = IntervalSet(pairs)
    plain = {i for a, b in pairs for i in range(a, b)}
    assert {i for a, b in intervals for i in range(a, b)} == plain
    assert intervals.total == len(plain)
    assert list(intervals) == sorted(intervals)
    assert all(b < c for (_, b), (c, _) in zip(list(intervals), list(intervals)[1:], strict=False))
    wanted = set(range(start, stop))
    assert intervals.covers(start, stop) is (wanted <= plain)
    assert {i for a, b in intervals.missing(start, stop) for i in range(a, b)} == wanted - plain


@given(INTERVALS, st.integers(0, 10))
def test_joined_intervals_cover_and_are_far_apart(pairs: list[tuple[int, int]], gap: int) -> None:
    pairs = [(a, b) for a, b in pairs if a < b]
    joined = join_close(pairs, gap)
    covered = {i for a, b in joined for i in range(a, b)}
    assert {i for a, b in pairs for i in range(a, b)} <= covered
    assert all(c - b > gap for (_, b), (c, _) in itertools.pairwise(joined))


@given(INTERVALS, st.integers(1, 10))
def test_split_intervals_are_short_and_the_same_bytes(pairs: list[tuple[int, int]], longest: int) -> None:
    pieces = split_long(pairs, longest)
    assert all(0 < b - a <= longest for a, b in pieces)
    assert [i for a, b in pieces for i in range(a, b)] == [i for a, b in pairs for i in range(a, b)]
