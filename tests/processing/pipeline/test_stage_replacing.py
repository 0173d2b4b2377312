"""A stage that replaces what an earlier run left says so, and why."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from allen_ecephys.processing.pipeline.stage import Stage


def test_results_of_another_input_are_replaced_by_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="allen_ecephys")
    stage = Stage("counting", outputs=("n.txt",))
    one, other = tmp_path / "one.dat", tmp_path / "other.dat"
    one.write_bytes(b"1" * 10)
    other.write_bytes(b"2" * 10)

    def run(path: Path, threshold: float = 1.0) -> bool:
        def work(folder: Path) -> dict[str, int]:
            (folder / "n.txt").write_bytes(path.read_bytes())
            return {}

        caplog.clear()
        return stage.run(tmp_path / "out", work, inputs=[path], parameters={"threshold": threshold}).reused

    assert not run(one)
    assert "in place of" not in caplog.text
    assert "out/counting: running" in caplog.messages  # of which probe
    assert run(one)
    assert not run(other)
    assert f"in place of what is in {tmp_path / 'out' / 'counting'}: input other.dat" in caplog.text
    assert not run(other, 2.0)
    assert "threshold 1.0 -> 2.0" in caplog.text
