"""Row A16: tables, metrics, manifests, indices, parsed copies and journals with seeded damage."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fuzzing import BYTES, Tally
from small_project import write_project

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.offline.build import status
from allen_ecephys.cache.offline.verify import verify
from allen_ecephys.cache.tables import parsed_copies
from allen_ecephys.units.filter import UnitFilter

logger = logging.getLogger(__name__)

ODD = (
    "", " ", "nan", "NaN", "inf", "-inf", "-1", "0", "1e400", "99999999999999999999", "1.5", "True", "maybe", '"',
    "a,b", "\x00", "é", "𝄞", "2019-13-45", "0x10", "1_000", "=cmd()", "../..", "x" * 5000,
)  # fmt: skip


def odd_field(content: bytes, rng: random.Random) -> bytes:
    """Put an odd value into one field of a CSV table."""
    lines = content.decode().split("\n")
    at = rng.randrange(len(lines) - 1)
    fields = lines[at].split(",")
    fields[rng.randrange(len(fields))] = rng.choice(ODD)
    lines[at] = ",".join(fields)
    return "\n".join(lines).encode()


def odd_column(content: bytes, rng: random.Random) -> bytes:
    """Put odd values into a whole column, its name excepted."""
    rows = [line.split(",") for line in content.decode().split("\n")[:-1]]
    at, value = rng.randrange(len(rows[0])), rng.choice(ODD)
    for row in rows[1:]:
        row[min(at, len(row) - 1)] = value
    return ("\n".join(",".join(row) for row in rows) + "\n").encode()


def no_column(content: bytes, rng: random.Random) -> bytes:
    """Leave a column out."""
    rows = [line.split(",") for line in content.decode().split("\n")[:-1]]
    at = rng.randrange(len(rows[0]))
    return ("\n".join(",".join(row[:at] + row[at + 1 :]) for row in rows) + "\n").encode()


def no_rows(content: bytes, rng: random.Random) -> bytes:
    """Keep the names of the columns only."""
    return content.split(b"\n")[0] + b"\n"


def odd_json(content: bytes, rng: random.Random) -> bytes:
    """Put an odd value into the place of one value of a JSON text."""
    odd = [None, True, -1, 1e400, "", "../x", "\ud800", "a" * 300, [], {}, [[]], "%s%s", "%d" * 20, "CON", "\x00"]
    whole = json.loads(content)
    places: list[tuple[Any, Any]] = []

    def collect(item: Any) -> None:
        for key in item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ():
            places.append((item, key))
            collect(item[key])

    collect(whole)
    holder, key = rng.choice(places)
    holder[key] = rng.choice(odd)
    return json.dumps(whole).encode()


TABLE = (*BYTES, odd_field, odd_field, odd_column, odd_column, no_column, no_rows)


def answers(root: Path) -> list[Any]:
    """Ask a cache everything that its tables answer."""
    cache = EcephysProjectCache.fixed(root)
    every = UnitFilter.none()
    return [
        cache.get_session_table(suppress=[]), cache.get_probes(), cache.get_channels(), cache.get_units(),
        cache.get_units(unit_filter=every), cache.get_all_session_types(), cache.get_all_full_genotypes(),
        cache.get_all_ages(), cache.get_all_sexes(), cache.get_structure_acronyms(), cache.get_unit_analysis_metrics(),
        cache.get_unit_analysis_metrics_for_session(101), cache.plan().as_dict()["files"],
    ]  # fmt: skip


def same(one: list[Any], other: list[Any]) -> bool:
    return all(a.equals(b) if isinstance(a, pd.DataFrame) else a == b for a, b in zip(one, other, strict=True))


def everything_else(root: Path) -> list[Any]:
    """Look at the folder as the commands do."""
    cache = EcephysProjectCache.fixed(root)
    return [status(cache)["files"], [(file.key, file.outcome) for file in verify(cache).files], *answers(root)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    patched = pytest.MonkeyPatch()
    patched.setattr(parsed_copies, "SMALLEST_BYTES", 0)  # small tables have parsed copies too
    root = write_project(tmp_path_factory.mktemp("fuzz") / "project")
    EcephysProjectCache(root, remote=root.parent)  # writes the manifest
    answers(root)
    verify(EcephysProjectCache.fixed(root))
    for nwb in root.rglob("*.nwb"):
        nwb.unlink()  # those are damaged elsewhere
    part = root / "units.csv.0123abcd.part"
    part.write_bytes(b"x" * 100)
    header = {"format": 1, "size": 1000, "etag": '"v1"', "url": "http://x/", "owner": None}
    part.with_name(part.name + ".json").write_text(json.dumps(header) + "\n[0, 100]\n")
    yield root
    patched.undo()


#: In the normal suite, and in the long run.
LONG = int(os.environ.get("ALLEN_ECEPHYS_FUZZ_CASES", "3000"))
CASES = [10, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]


@pytest.mark.parametrize("cases", CASES)
def test_A16_damaged_tables_are_right_or_named(project: Path, tmp_path: Path, cases: int) -> None:
    logging.disable(logging.ERROR)
    tally, rng = Tally(), random.Random(16)
    right = answers(project)
    tables = sorted(project.rglob("*.csv"))
    for case in range(cases):
        table, damage = rng.choice(tables), rng.choice(TABLE)
        root = tmp_path / "case"
        shutil.copytree(project, root, ignore=shutil.ignore_patterns(".*.npz"))
        damaged = root / table.relative_to(project)
        damaged.write_bytes(damage(table.read_bytes(), rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tally.judge(
                f"{case} {table.name} {damage.__name__}", lambda at=root: answers(at), lambda got: same(got, right)
            )
        shutil.rmtree(root)
    logging.disable(logging.NOTSET)
    logger.info("damaged tables: %s", dict(tally.counts))
    assert tally.others == []
    assert tally.counts["named"] > cases / 5


@pytest.mark.parametrize("cases", CASES)
def test_A16_damaged_bookkeeping_costs_time_only(project: Path, tmp_path: Path, cases: int) -> None:
    """Manifests are read or refused; indices, parsed copies and journals save time, and never alter an answer."""
    logging.disable(logging.ERROR)
    tally, rng = Tally(), random.Random(17)
    right = answers(project)
    kept = [*project.rglob(".*.npz"), *project.rglob(".allen-ecephys-index.json"), *project.glob("*.part.json")]
    for case in range(cases):
        chosen = rng.choice([*sorted(kept), project / "manifest.json"])
        is_json = chosen.name in {"manifest.json", ".allen-ecephys-index.json"}
        damage = rng.choice([*BYTES, odd_json, odd_json, odd_json] if is_json else BYTES)
        root = tmp_path / "case"
        shutil.copytree(project, root)
        (root / chosen.relative_to(project)).write_bytes(damage(chosen.read_bytes(), rng))
        alters = chosen.name == "manifest.json"

        def equals(got: list[Any], alters: bool = alters) -> bool:
            return alters or same(got[2:], right)

        tally.judge(f"{case} {chosen.name} {damage.__name__}", lambda at=root: everything_else(at), equals)
        shutil.rmtree(root)
    logging.disable(logging.NOTSET)
    logger.info("damaged bookkeeping: %s", dict(tally.counts))
    assert tally.others == []
    assert tally.counts["altered"] == 0
