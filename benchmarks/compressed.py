"""Reading compressed raw data of 384 channels: CPU seconds a recorded second, beside mtscomp and a plain file.

    python benchmarks/compressed.py [--seconds 20] [--folder DIR]

A simulated spike band is written plain and compressed, and read a second at a time and in blocks of 10,000 samples with
100 on each side, as filters read it; the files are in memory (warm page cache).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def cpu_a_second(work: Callable[[], object], seconds: float, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) / seconds)
    return sorted(times)[repeats // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    import mtscomp

    from allen_ecephys.processing.readers import open_bands
    from allen_ecephys.processing.simulation.raw import write_recording

    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        plain = write_recording(folder / "plain", duration=options.seconds, n_units=200, form="spikeglx", lfp=False)
        packed = write_recording(
            folder / "packed", duration=options.seconds, n_units=200, form="spikeglx", lfp=False, compress=True
        )
        bands = {name: open_bands(truth.folder).spike_band for name, truth in (("plain", plain), ("packed", packed))}
        n = bands["plain"].n_samples
        sizes = {name: band.path.stat().st_size for name, band in bands.items()}
        print(f"{sizes['plain'] / 1e6:,.0f} MB, compressed {sizes['packed'] / sizes['plain']:.1%} of it")
        bands["packed"].read(0, 10)  # compiled
        for name, band in bands.items():
            for block, around in ((30_000, 0), (10_000, 100)):

                def read(band=band, block=block, around=around) -> None:  # type: ignore[no-untyped-def]
                    band.close()
                    for start in range(0, n, block):
                        band.read(max(start - around, 0), min(start + block + around, n))

                print(f"{name}, blocks of {block:,}: {cpu_a_second(read, options.seconds):.3f} CPU s a second")

        def read_with_mtscomp() -> None:
            judge = mtscomp.Reader(quiet=True)
            judge.open(*bands["packed"].files)
            for start in range(0, n, 30_000):
                judge[start : start + 30_000]
            judge.close()

        print(f"mtscomp, blocks of 30,000: {cpu_a_second(read_with_mtscomp, options.seconds):.3f} CPU s a second")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
