"""How ids of probes, channels and units are made from a session's: each says where it belongs, none is given twice.

Probe ``10 * session + k``, channel ``1000 * probe + number``, unit ``100000 * probe + cluster``. Released probes have
384 channels; those of a larger probe from 1000 on are moved by 10^14 for each thousand, away from the next probe's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import InvalidContentsError, InvalidValueError

from ..ranges import check_whole

PROBES, CHANNELS, UNITS = 10, 1_000, 100_000
#: What each further thousand of a probe's channels adds to their ids, which stay exact as float64; most thousands.
THOUSAND, MOST_THOUSANDS = 10**14, 10
#: From the next one on, ids of units would not fit into 64 bits.
LARGEST_SESSION_ID: Final = (2**63 - 1) // (PROBES * UNITS) - 1

#: Ids of sessions that nobody numbered: above all released ones, and so small that ids of units are exact as float64.
UNNUMBERED_SESSIONS: Final = (1_000_000_000, 9_000_000_000)


def session_id_of(recordings: Iterable[str]) -> int:
    """Return the id of a session that nobody numbered, by what identifies its recordings, in any order.

    The same recordings have the same id, from run to run and on any machine; two sessions of others differ, but for one
    chance in eight billion.
    """
    first, beyond = UNNUMBERED_SESSIONS
    digest = hashlib.sha256("\n".join(sorted(recordings)).encode()).hexdigest()
    return first + int(digest, 16) % (beyond - first)


def probe_numbers(names: Sequence[str]) -> list[int]:
    """Return the number of each probe of a session, by its name: ``probeB`` and ``imec1`` are 1.

    So a probe of a session has the same ids packaged alone or with others. Where names tell no numbers below 10, or
    the same for two, probes are numbered in their order.

    Examples
    --------
    >>> probe_numbers(["imec1"]), probe_numbers(["ProbeC", "probeA"]), probe_numbers(["left", "right"])
    ([1], [2, 0], [0, 1])
    """
    found = [_number_in(name) for name in names]
    told = [number for number in found if number is not None and number < PROBES]
    return told if len(set(told)) == len(names) else list(range(len(names)))


def _number_in(name: str) -> int | None:
    letter = re.fullmatch(r"probe[ _-]?([a-j])", name, re.IGNORECASE)
    if letter:
        return ord(letter[1].lower()) - ord("a")
    digits = re.fullmatch(r"\D*?(\d{1,3})", name)
    return int(digits[1]) if digits else None


def check_session_id(session_id: int) -> None:
    """Raise unless ids can be made from `session_id`.

    Raises
    ------
    InvalidValueError
        If it is no whole number, negative, or so large that ids of units would not fit into 64 bits.

    Examples
    --------
    >>> check_session_id(715093703)
    """
    check_whole("session_id", session_id, most=LARGEST_SESSION_ID)


def probe_ids(session_id: int, n_probes: int) -> npt.NDArray[np.int64]:
    """Return the ids of a session's probes.

    Raises
    ------
    InvalidValueError
        If there is no room for the session's id, or for so many probes.
    """
    check_session_id(session_id)
    if n_probes > PROBES:
        msg = f"{n_probes} probes of one session were given; ids have room for {PROBES}"
        raise InvalidValueError(msg)
    return PROBES * session_id + np.arange(n_probes, dtype=np.int64)


def channel_ids(probe_id: npt.ArrayLike, numbers: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the ids of channels: of one probe, or each of a probe of its own.

    Raises
    ------
    InvalidContentsError
        If a channel's number has no room, or a channel from 1000 on is of a probe whose id has 12 digits or more.

    Examples
    --------
    >>> channel_ids(7230, [0, 999, 1000]).tolist()
    [7230000, 7230999, 100000007230000]
    """
    number = _within(numbers, CHANNELS * MOST_THOUSANDS, "channel numbers")
    probe = np.asarray(probe_id, dtype=np.int64)
    thousands = number // CHANNELS
    if thousands.any() and probe.max() >= THOUSAND // CHANNELS:
        msg = f"channels from {CHANNELS} on of probe {probe.max()} would get others' ids; take a smaller session_id"
        raise InvalidContentsError(msg)
    return np.asarray(CHANNELS * probe + number % CHANNELS + THOUSAND * thousands)


def unit_ids(probe_id: npt.ArrayLike, clusters: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the ids of units: of one probe, or each of a probe of its own.

    Raises
    ------
    InvalidContentsError
        If a cluster's number has no room.
    """
    return UNITS * np.asarray(probe_id, dtype=np.int64) + _within(clusters, UNITS, "cluster ids")


def _within(numbers: npt.ArrayLike, room: int, what: str) -> npt.NDArray[np.int64]:
    array = np.asarray(numbers, dtype=np.int64)
    if array.size and not (array.min() >= 0 and array.max() < room):
        msg = f"{what} go from {array.min()} to {array.max()}; ids have room for 0 to {room - 1}"
        raise InvalidContentsError(msg)
    return array
