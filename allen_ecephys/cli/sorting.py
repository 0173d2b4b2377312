"""Commands that sort: ``allen-ecephys process sort``, ``process run`` (the whole chain) and ``process sorters``."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .comparing import compare_with_published
from .info import described
from .raw import overwrite_option, raw_options, surface_in_words
from .speaking import AS_JSON, announce_compiling
from .units import say_units, session_options

if TYPE_CHECKING:
    from allen_ecephys.processing import SortedProbe
    from allen_ecephys.processing.pipeline import StageResult
    from allen_ecephys.processing.simulation.raw import RawGroundTruth

    Sort = Callable[[], SortedProbe]

#: Rows of a table that are printed.
ROWS = 8


def _parameter(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE: numbers, lists of numbers, True, False and None as such, all else as text."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            msg = f"{text!r} is not NAME=VALUE, as in Th=10,4"
            raise click.BadParameter(msg)
        try:
            found[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            found[name.strip()] = value.strip()
    return found


def _sorter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add RAW, OUTPUT and what a sorter is told; the command gets the folders and a function that sorts."""
    options = (
        click.argument("raw", type=click.Path(exists=True, path_type=Path)),
        click.argument("output", type=click.Path(file_okay=False, path_type=Path)),
        click.option(
            "--sorter", default="native", show_default=True, help="native, or one that `process sorters` lists."
        ),
        click.option(
            "--parameter",
            "-p",
            "parameters",
            multiple=True,
            callback=_parameter,
            metavar="NAME=VALUE",
            help="A parameter of the sorter, as in Th=10,4; may be repeated.",
        ),
        click.option(
            "--python",
            metavar="INTERPRETER",
            help="Python that SpikeInterface and its sorters are installed for. Default: the setting "
            "ALLEN_ECEPHYS_SORTER_PYTHON, else the one that runs this.",
        ),
        click.option("--keep-work", is_flag=True, help="Keep the sorter's own files (OUTPUT/sorting.work)."),
        click.option(
            "--no-median-file",
            is_flag=True,
            help="Do not write the spike band less its medians, as large as RAW; subtract them whenever it is read.",
        ),
        click.option("--workers", type=click.IntRange(1), help="Threads that read and write."),
        raw_options,
        overwrite_option,
    )

    @functools.wraps(command)
    def with_sorting(
        raw: Path, output: Path, sorter: str, parameters: dict[str, Any], python: str | None, keep_work: bool,
        no_median_file: bool, workers: int | None, opened_with: dict[str, Any], overwrite: bool, **others: Any,
    ) -> Any:  # fmt: skip
        sort = functools.partial(
            _sort, raw, output, sorter=sorter, parameters=parameters, python=python, keep_work=keep_work,
            write_medians=not no_median_file, n_workers=workers, overwrite=overwrite, **opened_with,
        )  # fmt: skip
        return command(raw, output, sort, opened_with["stream"], **others)

    wrapped: Callable[..., None] = with_sorting
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@click.command("sort", short_help="Sort the spikes of one probe into a phy folder.")
@_sorter_options
def sort_command(raw: Path, output: Path, sort: Sort, stream: str | None) -> None:
    """Sort the spikes of one probe into a phy folder, OUTPUT/sorting.

    RAW is the folder of a recording (simulated, Open Ephys or SpikeGLX). Channels are looked at and medians subtracted
    first; OUTPUT gets one folder for each step. A run that was stopped goes on where it was.

    \b
    EXAMPLES
      allen-ecephys process sort raw/ output/
      allen-ecephys process sort raw/ output/ --parameter Th=9,4 --parameter nblocks=0
      allen-ecephys process sort raw/ output/ --sorter kilosort4 --python ~/kilosort/bin/python
    """
    del output
    probe = sort()
    truth = _truth(raw, None, stream)
    if truth is not None:
        _say_score(probe, truth)
    click.echo(f"phy folder: {probe.sorting.folder}")


@click.command("run", short_help="Turn the raw data of one probe into a session file.")
@_sorter_options
@click.option(
    "--truth",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the simulation to compare the units with. Default: RAW, if it was simulated.",
)
@session_options
@click.option("--probe-name", metavar="NAME", help="What the session calls the probe. Default: as its recorder.")
@click.option(
    "--lfp/--no-lfp", default=True, show_default=True, help="Write the probe's LFP file, too, beside the session's."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all random draws of the metrics."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; what is said on the way goes to stderr.")
def run_command(
    raw: Path,
    output: Path,
    sort: Sort,
    stream: str | None,
    truth: Path | None,
    session_id: int | None,
    start_time: datetime,
    probe_name: str | None,
    lfp: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Turn the raw data of one probe into a session file: sort, clean, measure, package, open.

    RAW is the folder of a recording (simulated, Open Ephys or SpikeGLX); OUTPUT gets one folder for each step, and the
    session as OUTPUT/session/session.nwb. A run that was stopped goes on where it was. Where RAW is a probe of the
    release in a project cache that holds its session, units are compared with the published ones, too
    (OUTPUT/comparison.html).

    \b
    EXAMPLES
      allen-ecephys process simulate raw/ --channels 32 --units 8 --duration 30
      allen-ecephys process run raw/ output/
      allen-ecephys process run raw/ output/ --json > run.json
    """
    from allen_ecephys import EcephysSession
    from allen_ecephys.processing.packaging import check_session_id

    if session_id is not None:
        check_session_id(session_id)  # now, not after the sorting
    known = _truth(raw, truth, stream)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        probe = sort()
        score = None if known is None else _say_score(probe, known)
        table = probe.measure(seed=seed)
        say_units(table, output / "units" / "metrics.csv")
        path = probe.package(
            session_id=session_id, session_start_time=start_time.replace(tzinfo=UTC), name=probe_name, lfp=lfp
        )  # fmt: skip
        _say_session(path)
        compare_with_published(raw, path, output)
    if as_json:
        with EcephysSession(path) as session:
            facts = {
                "session": described(session),
                "phy_folder": str(probe.sorting.folder),
                "units_table": str(output / "units" / "metrics.csv"),
                "looked_at": probe.depth.report,
                "sorting": probe.sorting.report,
                "of_an_earlier_run": {"looked_at": probe.depth.reused, "sorting": probe.sorting.reused},
                "true_units": score,
            }
        click.echo(json.dumps(facts, indent=1))


@click.command("sorters", short_help="List the sorters that can run here.")
@click.option("--python", metavar="INTERPRETER", help="Python whose SpikeInterface is asked, as in `process sort`.")
@AS_JSON
def sorters_command(python: str | None, as_json: bool) -> None:
    """List the sorters that `process sort` can run here, one a line."""
    from allen_ecephys.processing.sorting import available_sorters

    names = available_sorters(python)
    click.echo(json.dumps(names) if as_json else "\n".join(names))


def _sort(raw: Path, output: Path, **told: Any) -> SortedProbe:
    from allen_ecephys.processing import sort_raw

    announce_compiling()
    probe = sort_raw(raw, output, **told)
    look, counts = probe.depth.report, probe.sorting.report
    click.echo(
        f"looked at: {surface_in_words(look, probe.recording.n_channels)}, "
        f"{len(look['masked_channels'])} channels masked{_reused(probe.depth)}"
    )
    click.echo(
        f"sorted ({counts['sorter']}): {counts['n_units']} units, {counts['n_spikes']:,} spikes on "
        f"{counts['n_channels']} channels, {counts['seconds']:.1f} s{_reused(probe.sorting)}"
    )
    click.echo(
        f"  single units by their refractory period (Kilosort's label good): {counts['n_good']}; the others are "
        "multi-unit, or fire too seldom to tell (mua)"
    )
    kinds = counts.get("kinds")  # folders of earlier versions have none
    if kinds:
        click.echo(
            f"  by the size of their spikes, too, probably: {', '.join(f'{kind} {n}' for kind, n in kinds.items())}; "
            "cluster_kind.tsv, with probabilities and shares of false and missed spikes beside it, says which"
        )
    return probe


def _reused(stage: StageResult) -> str:
    return " (of an earlier run)" if stage.reused else ""


def _truth(raw: Path, folder: Path | None, stream: str | None) -> RawGroundTruth | None:
    """Return the truth of a simulated probe, or None of one that was recorded."""
    from allen_ecephys.processing.simulation.raw import read_ground_truth, truth_file

    if folder is None and not truth_file(raw, stream).exists():
        return None
    return read_ground_truth(folder or raw, stream)


def _say_score(probe: SortedProbe, truth: RawGroundTruth) -> dict[str, Any]:
    """Say how many true units were found, and return it."""
    from allen_ecephys.processing.simulation import score_phy_folder

    score = score_phy_folder(probe.sorting.folder, truth)
    accuracy = score.units["accuracy"]
    beside = f"{len(score.false_positive_units)} false positive and {len(score.redundant_units)} redundant units"
    if len(accuracy):
        click.echo(
            f"true units: {score.n_well_found} of {len(accuracy)} found (accuracy of 0.8 or more), mean accuracy "
            f"{accuracy.mean():.3f}; {beside}"
        )
    else:
        click.echo(f"true units: none was simulated; {beside}")
    missed = score.units[accuracy < 0.8].join(truth.units[["amplitude", "snr", "peak_channel"]])
    if len(missed):
        columns = ["amplitude", "snr", "peak_channel", "n_true", "sorted_unit", "n_sorted", "accuracy"]
        shown = missed.sort_values("amplitude", ascending=False)[columns].head(ROWS)
        click.echo(f"not found{_first(len(missed))}:")
        click.echo(shown.round({"amplitude": 1, "snr": 2, "accuracy": 3}).to_string())
    return {
        "true": len(accuracy),
        "found": int(score.n_well_found),
        "mean_accuracy": round(float(accuracy.mean()), 4) if len(accuracy) else None,
        "false_positive": len(score.false_positive_units),
        "redundant": len(score.redundant_units),
    }


def _say_session(path: Path) -> None:
    from allen_ecephys import EcephysSession

    click.echo(f"session: {path}, {path.stat().st_size / 1e6:,.1f} MB")
    with EcephysSession(path) as session:
        click.echo(repr(session))
        columns = ["snr", "firing_rate", "isi_violations", "amplitude_cutoff", "presence_ratio", "waveform_amplitude"]
        units = session.units
        hidden = session.hidden_units()
        if hidden.any():
            named = ", ".join(f"{bound} {n}" for bound, n in hidden[hidden > 0].items())
            click.echo(
                f"not shown, by the bounds that hide them: {named}. To see every unit: "
                f"`allen-ecephys units {shlex.quote(str(path))} --all-units`, or in Python "
                f"EcephysSession({str(path)!r}, unit_filter=UnitFilter.none())"
            )
        click.echo(f"units that pass the default filter{_first(len(units))}:")
        click.echo(units[["probe_description", "peak_channel_id", *columns]].head(ROWS).round(3).to_string())


def _first(count: int) -> str:
    return f" (the first {ROWS} of {count})" if count > ROWS else f" ({count})"
