"""Seeded damage to files, and what reading them then comes to.

A case is right (``same``), right by its form but with other values, which nothing in the file can tell (``altered``:
counted, no fault where the data carry no checksum), a named error (``named``), or anything else, which is a fault.
"""

from __future__ import annotations

import dataclasses
import random
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from allen_ecephys.errors import AllenEcephysError

Damage = Callable[[bytes, random.Random], bytes]


def flip(content: bytes, rng: random.Random) -> bytes:
    """Turn one bit over."""
    damaged = bytearray(content)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(content: bytes, rng: random.Random) -> bytes:
    """Keep the beginning."""
    return content[: rng.randrange(len(content))]


def noise(content: bytes, rng: random.Random) -> bytes:
    """Write noise over a run of bytes."""
    at, size = rng.randrange(len(content)), rng.randint(1, 64)
    return content[:at] + rng.randbytes(size) + content[at + size :]


def zeros(content: bytes, rng: random.Random) -> bytes:
    """Lose a run of bytes, as a disk does: zeros in their place."""
    at, size = rng.randrange(len(content)), rng.randint(1, 4096)
    return content[:at] + bytes(min(size, len(content) - at)) + content[at + size :]


def removed(content: bytes, rng: random.Random) -> bytes:
    """Leave a run of bytes out."""
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.randint(1, 64) :]


def repeated(content: bytes, rng: random.Random) -> bytes:
    """Repeat a run of bytes."""
    at = rng.randrange(len(content))
    return content[:at] + content[at : at + rng.randint(1, 200)] + content[at:]


def foreign(content: bytes, rng: random.Random) -> bytes:
    """Put something else in the file's place."""
    page = b"<html><body>Sign in</body></html>"
    return rng.choice([b"", b"\n", page, page * 9000, rng.randbytes(300), b"\x00" * len(content), b"[" * 100_000])


#: Damage that needs to know nothing of a format.
BYTES: tuple[Damage, ...] = (flip, cut, noise, zeros, removed, repeated, foreign)


@dataclasses.dataclass
class Tally:
    """How the cases of a run ended."""

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    others: list[str] = dataclasses.field(default_factory=list)

    def judge(self, case: str, read: Callable[[], Any], equals: Callable[[Any], bool]) -> None:
        """Run one case and note what it came to."""
        try:
            outcome = "same" if equals(read()) else "altered"
        except AllenEcephysError:
            outcome = "named"
        except Exception:
            outcome = "other"
            self.others.append(f"{case}: {traceback.format_exc(limit=-3)}")
        self.counts[outcome] += 1
