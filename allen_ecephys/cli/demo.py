"""``allen-ecephys demo``: from a remote project to tuned neurons, on simulated sessions or on real ones."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .own_folder import own_folder
from .speaking import announce_compiling

if TYPE_CHECKING:
    import pandas as pd

    from allen_ecephys import EcephysSession
    from allen_ecephys.cache import EcephysProjectCache

    from .demo_analysis import GratingTuning

#: The two simulated sessions: type and length relative to a real one.
_SIMULATED = (("brain_observatory_1.1", 0.15), ("functional_connectivity", 0.03))
_UNITS = 600


@click.command(short_help="Fetch, read, align and decode: the whole path in one go.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("ecephys_demo"),
    show_default=True,
    help="Folder for the figures (and for the simulated project).",
)
@click.option("--remote", metavar="URL", help="A project to fetch from (https://..., s3://..., a folder) instead.")
@click.option("--session", "session_id", type=int, metavar="ID", help="Session to analyse; needed with --remote.")
@click.option(
    "--cache-dir", type=click.Path(file_okay=False, path_type=Path), help="Cache folder.  [default: OUTPUT/cache]"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides what is simulated.")
def demo(output: Path, remote: str | None, session_id: int | None, cache_dir: Path | None, seed: int) -> None:
    """Fetch, read, align and decode: the whole path in one go.

    Without options, simulates one session of each type, publishes them as a project, serves it on this machine, and
    then does what a user of a real project does: fetch tables and a session, filter units, align spikes to gratings
    and scenes, decode the scene shown, draw figures. With --remote and --session it does so on that project.

    \b
    EXAMPLES
      allen-ecephys demo
      allen-ecephys demo --remote https://server/ecephys-cache --session 732592105 --cache-dir ~/ecephys
    """
    if (remote is None) != (session_id is None):
        missing, given = ("--session", "--remote") if session_id is None else ("--remote", "--session")
        msg = f"{given} needs {missing} too"
        raise click.UsageError(msg)
    announce_compiling()
    _check_extras()  # now, not after the sessions are simulated
    output.mkdir(parents=True, exist_ok=True)
    if remote is not None and session_id is not None:
        _explore(_open_cache(remote, cache_dir or output / "cache"), session_id, output, truth=None)
        return
    with contextlib.ExitStack() as folders:
        project = folders.enter_context(own_folder(output / "project"))
        # Another run's project has other files under the same names: its cache is of no use.
        fetched = cache_dir or folders.enter_context(own_folder(output / "project_cache"))
        truth = _simulated_project(project, seed)
        with _served(project) as url:
            click.echo(f"\nThe project is served at {url}")
            _explore(_open_cache(url, fetched), int(truth.attrs["session_id"]), output, truth)


def _check_extras() -> None:
    from importlib.util import find_spec

    from allen_ecephys.errors import missing_extra

    needed = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}
    missing = [name for module, name in needed.items() if find_spec(module) is None]
    if missing:
        raise missing_extra(" and ".join(missing), "demo", "the demo")


def _open_cache(url: str, folder: Path) -> EcephysProjectCache:
    from allen_ecephys.cache import EcephysProjectCache

    return EcephysProjectCache.from_url(url, manifest=folder / "manifest.json")


# --- a project of our own ------------------------------------------------------------------------------------------


def _simulated_project(folder: Path, seed: int) -> pd.DataFrame:
    """Simulate a session of each type and publish both as a project; return what the first one's units prefer."""
    from allen_ecephys import EcephysSession, UnitFilter
    from allen_ecephys.cache import EcephysProjectCache
    from allen_ecephys.processing.simulation import write_session
    from allen_ecephys.processing.stimulus_metrics import compute_unit_analysis_metrics
    from allen_ecephys.progress import progress_bar

    project = EcephysProjectCache(folder / "manifest.json", remote=None)
    truths = []
    for number, (kind, scale) in enumerate(progress_bar(_SIMULATED, desc="simulating sessions", unit="session")):
        made = folder / f"{kind}.nwb"
        truth = write_session(made, kind, scale=scale, seed=seed + number, n_units=_UNITS, invalid_times=False)
        with EcephysSession(made, unit_filter=UnitFilter.none()) as session:
            project.add_session(made, metrics=compute_unit_analysis_metrics(session), move=True)
        truths.append(truth)
    units: pd.DataFrame = truths[0].units
    units.attrs["session_id"] = truths[0].session_id
    return units


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on this machine while the block runs."""
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing: each request would be a line among the demo's own."""

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


# --- what a user does ----------------------------------------------------------------------------------------------


def _explore(cache: EcephysProjectCache, session_id: int, output: Path, truth: pd.DataFrame | None) -> None:
    import pandas as pd

    from allen_ecephys import UnitFilter

    with pd.option_context("display.width", 110, "display.max_columns", 9, "display.precision", 3):
        _heading("Sessions of the project: cache.get_session_table()")
        sessions = cache.get_session_table()
        click.echo(sessions.drop(columns=["published_at", "ecephys_structure_acronyms"], errors="ignore").head(10))
        _heading(f"One session, fetched when first asked for: cache.get_session_data({session_id})")
        session = cache.get_session_data(session_id)
        click.echo(repr(session))
        _heading("Its units, default quality filter: session.units")
        shown = ["ecephys_structure_acronym", "firing_rate", "snr", "presence_ratio", "isi_violations"]
        click.echo(session.units[shown].head())
        _heading(
            "Published tuning: cache.get_unit_analysis_metrics(unit_filter=UnitFilter.none(), leave_out_broken=True)"
        )
        metrics = cache.get_unit_analysis_metrics(unit_filter=UnitFilter.none(), leave_out_broken=True)
        click.echo(metrics[[c for c in ("pref_ori_dg", "pref_tf_dg", "g_osi_dg", "p_value_rf") if c in metrics]].head())
        click.echo(f"... {len(metrics):,} units")
    figures = _gratings(session, metrics, output, truth)
    figures += _scenes(session)
    figures += _receptive_field(session, output, truth)
    _heading("Figures")
    for path in figures:
        click.echo(f"  {path}")


def _gratings(session: EcephysSession, metrics: pd.DataFrame, output: Path, truth: pd.DataFrame | None) -> list[Path]:
    from .demo_analysis import grating_tuning
    from .demo_figures import direction_tuning, raster_and_psth

    _heading("Spikes aligned to drifting gratings")
    if "drifting_gratings" not in session.stimulus_names:
        click.echo("this session shows no drifting gratings in eight directions: skipped")
        return []
    tuning = grating_tuning(session)
    if truth is not None:
        responsive = truth[truth["responsive"]]
        known, name, which = responsive["preferred_orientation"], "true preference", "simulated to respond"
    else:
        known, name = metrics["pref_ori_dg"].reindex(tuning.preferred.index), "published preference"
        which = "with a published preference"
    known = known.reindex(tuning.preferred.index).dropna()
    active = tuning.preferred.loc[known.index].dropna()
    same = active["pref_ori"].to_numpy() == known[active.index].to_numpy()
    click.echo(
        f"{same.sum()} of {len(active)} units: preferred direction from aligned spikes equals the {name}\n"
        f"(of the {len(session.units)} units that pass the filter, those {which} and with spikes during gratings)"
    )
    best = _showpiece(tuning, active)
    preferred = float(tuning.preferred["pref_ori"][best])
    return [
        raster_and_psth(session, best, preferred, output / "raster_psth.png"),
        direction_tuning(tuning, known, name, output / "direction_tuning.png"),
    ]


def _showpiece(tuning: GratingTuning, candidates: pd.DataFrame) -> int:
    """Return the selective unit that answers most strongly."""
    strongest = tuning.rates.max(["orientation", "temporal_frequency"]).to_series()[candidates.index]
    return int(candidates.index[int((strongest * candidates["g_osi"]).argmax())])


def _scenes(session: EcephysSession) -> list[Path]:
    from .demo_analysis import decode_scenes

    _heading("Which natural scene was shown? Decoded from one response of the population")
    if "natural_scenes" not in session.stimulus_names:
        click.echo("this session shows no natural scenes: skipped")
        return []
    decoded = decode_scenes(session)
    click.echo(
        f"{decoded.accuracy.mean():.1%} of {decoded.n_trials:,} held-out presentations named rightly among "
        f"{decoded.n_scenes} scenes, from {decoded.n_units} units (chance {decoded.chance:.1%}, "
        f"shuffled labels {decoded.shuffled:.1%}; {len(decoded.accuracy)}-fold cross-validation)"
    )
    return []


def _receptive_field(session: EcephysSession, output: Path, truth: pd.DataFrame | None) -> list[Path]:
    from .demo_analysis import receptive_field_maps
    from .demo_figures import receptive_field

    _heading("Receptive fields from gabors")
    if "gabors" not in session.stimulus_names:
        click.echo("this session shows no gabors: skipped")
        return []
    maps = receptive_field_maps(session)
    contrast = (maps.max(["x_position", "y_position"]) - maps.mean(["x_position", "y_position"])).to_series()
    if not contrast.max() > 0:
        click.echo("no unit of this file has spikes while gabors were shown: skipped")
        return []
    unit = int(maps["unit_id"][int(contrast.argmax())])
    field = maps.sel(unit_id=unit)
    peak = field.where(field == field.max(), drop=True)
    x, y = float(peak["x_position"][0]), float(peak["y_position"][0])
    center = None
    told = f"unit {unit} answers most at x = {x:g}, y = {y:g} degrees"
    if truth is not None:
        center = float(truth["rf_x"][unit]), float(truth["rf_y"][unit])
        told += f"; its field was simulated at x = {center[0]:g}, y = {center[1]:g}"
    click.echo(told)
    gabors = session.get_stimulus_table("gabors")
    n_trials = int(gabors.groupby(["x_position", "y_position"]).size().min())
    return [receptive_field(field, unit, center, output / "receptive_field.png", n_trials=n_trials)]


def _heading(text: str) -> None:
    click.secho(f"\n{text}", bold=True)
