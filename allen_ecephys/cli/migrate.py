"""The command that makes a script or notebook written for AllenSDK import this package, and says what to look at."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

#: Module of AllenSDK -> module here. Longer names first; names within them are the same.
MODULES = {
    "allensdk.brain_observatory.ecephys.ecephys_project_cache": "allen_ecephys.ecephys_project_cache",
    "allensdk.brain_observatory.ecephys.ecephys_session": "allen_ecephys.ecephys_session",
    "allensdk.brain_observatory.ecephys.visualization": "allen_ecephys.visualization",
    "allensdk.brain_observatory.ecephys.stimulus_analysis": "allen_ecephys.stimulus_analysis",
    "allensdk.brain_observatory.visualization": "allen_ecephys.visualization",
    "allensdk.brain_observatory.ecephys": "allen_ecephys",
}

#: The classes of one stimulus each, which AllenSDK keeps in modules of their own.
_STIMULUS_MODULE = re.compile(
    r"\ballensdk\.brain_observatory\.ecephys\.stimulus_analysis"
    r"\.(drifting_gratings|static_gratings|natural_scenes|natural_movies|dot_motion|flashes"
    r"|receptive_field_mapping|stimulus_analysis)\b"
)

_PARAMETER = "(orientation|temporal_frequency|spatial_frequency|phase|contrast|Dir|Speed)"

#: What a person has to look at, as a pattern of a line, and why.
LOOK_AT = (
    (
        r"""["']null["']""",
        "a missing stimulus parameter is NaN here: write .isna() or .notna(), or open the session with "
        "compat='allensdk', where it is this text",
    ),
    (
        r"""["'][\[(]\s*-?[\d.]+\s*,\s*-?[\d.]+\s*[\])]["']""",
        "a pair of equal numbers is one number here ('[20.0, 20.0]' is 20.0), any other a tuple; compat='allensdk' "
        "keeps the text",
    ),
    (
        rf"""groupby\(\s*(by\s*=\s*)?\[?["']{_PARAMETER}["']""",
        "blank sweeps have NaN here, which groupby leaves out: give dropna=False to keep them",
    ),
    (r"\)\s*&\s*\[", "pandas 3 refuses a mask & a list: make the list an array, np.array([...])"),
    (
        r"\b(asynchronous|fetch_tries|warehouse_kwargs|timeout|version)\s*=",
        "taken by from_warehouse with a DeprecationWarning, and without effect: leave it out",
    ),
    (
        r"from_warehouse\(\s*(?!\w+\s*=)[^)\s]",
        "the first arguments of from_warehouse are scheme and host: write manifest=",
    ),
    (
        r"""units\[\s*\[?\s*["']\w+_(dg|sg|ns|fl|rf|dm)["']""",
        "session.units has no stimulus metrics: join session.unit_analysis_metrics",
    ),
    (
        r"\bEcephys\w*Api\b|\.api\b",
        "AllenSDK's readers have no counterpart: EcephysSession.from_nwb_path(path) opens a file",
    ),
    (
        r"\b(run_pval|fano)_(ns|dm|fl|rf)\b|\brun_pval_(dg|sg)\b",
        "metrics have their documented names (p_run_mod_..., fano_factor_...): names='release' gives those of files",
    ),
    (r"\bspike_times\[[^\]]+\]\s*(=[^=]|[-+*/]=)", "arrays of spikes are read-only: change a copy"),
    (
        r"\b(make_star_plot|make_fan_plot|plot_response_summary|get_intrinsic_timescale)\b",
        "not offered here: allen_ecephys.processing.stimulus_metrics.plot_tuning_curve draws tuning",
    ),
)


@dataclass(frozen=True)
class Finding:
    """A line that a person has to look at."""

    place: str
    line: str
    why: str


def migrated_code(code: str) -> tuple[str, list[tuple[int, str, str]]]:
    """Return code with its imports rewritten, and what to look at: line number from 1, line, reason.

    Parameters
    ----------
    code
        Python, of a script or of a notebook's cell.
    """
    for old, new in MODULES.items():
        # A module of AllenSDK below this one has no counterpart unless it is listed; a class in it has.
        code = re.sub(rf"\b{re.escape(old)}\b(?!\.[a-z_])", new, code)
    code = _STIMULUS_MODULE.sub("allen_ecephys.stimulus_analysis", code)
    found = []
    for number, line in enumerate(code.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            continue
        if re.search(r"\ballensdk\b", line):
            found.append((number, line.strip(), "this part of AllenSDK has no counterpart here"))
        found += [(number, line.strip(), why) for pattern, why in LOOK_AT if re.search(pattern, line)]
    return code, found


def migrated_file(text: str, notebook: bool) -> tuple[str, list[Finding]]:
    """Return a script or notebook with its imports rewritten, and what to look at."""
    if not notebook:
        code, found = migrated_code(text)
        return code, [Finding(f"line {number}", line, why) for number, line, why in found]
    document: dict[str, Any] = json.loads(text)
    findings: list[Finding] = []
    for number, cell in enumerate(document.get("cells", [])):
        if cell.get("cell_type") != "code":
            continue
        source = cell["source"]
        code, found = migrated_code(source if isinstance(source, str) else "".join(source))
        cell["source"] = code if isinstance(source, str) else code.splitlines(keepends=True)
        findings += [Finding(f"cell {number}, line {line}", shown, why) for line, shown, why in found]
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n", findings


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--write", is_flag=True, help="Change the files; without it the changes are shown.")
def migrate(files: tuple[Path, ...], write: bool) -> None:
    """Make scripts and notebooks written for AllenSDK import this package.

    Imports in FILES (.py or .ipynb) are rewritten; what else a person has to look at is listed with its reason.

    \b
      allen-ecephys migrate analysis.py
      allen-ecephys migrate --write *.ipynb
    """
    from allen_ecephys.files import read_regular, write_atomically

    for path in files:
        if path.suffix not in (".py", ".ipynb"):
            msg = f"{path} is neither a script (.py) nor a notebook (.ipynb)"
            raise click.UsageError(msg)
        content = read_regular(path)
        try:
            text = content.decode().replace("\r\n", "\n")
            changed, findings = migrated_file(text, path.suffix == ".ipynb")
        except (ValueError, KeyError, AttributeError) as error:
            what = "text in UTF-8" if isinstance(error, UnicodeDecodeError) else "notebook"
            msg = f"{path} is no {what}: {error}"
            raise click.UsageError(msg) from error
        before = set(text.splitlines())
        rewritten = [line for line in changed.splitlines() if line not in before and "allen_ecephys" in line]
        click.echo(f"{path}: {len(rewritten)} imports {'rewritten' if write else 'to rewrite'}")
        for line in rewritten:
            # A notebook's lines are JSON: a quote before, a line break, a quote and a comma after.
            click.echo("  " + line.strip().strip('",').removesuffix("\\n"))
        for finding in findings:
            click.echo(f"  {finding.place}: {finding.line}\n      {finding.why}")
        if write and rewritten:
            write_atomically(path, changed.replace("\n", "\r\n" if b"\r\n" in content else "\n"))
