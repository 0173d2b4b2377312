"""The command that makes a script or notebook written for AllenSDK import this package, and says what to look at."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .migration_findings import Review

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


@dataclass(frozen=True)
class Finding:
    """A line that a person has to look at."""

    place: str
    line: str
    why: str


def migrated_code(code: str, review: Review | None = None) -> tuple[str, list[tuple[int, str, str]]]:
    """Return code with its imports rewritten, and what to look at: line number from 1, line, reason.

    Parameters
    ----------
    code
        Python, of a script or of a notebook's cell.
    review
        That of the cells before.
    """
    for old, new in MODULES.items():
        # A module of AllenSDK below this one has no counterpart unless it is listed; a class in it has.
        code = re.sub(rf"\b{re.escape(old)}\b(?!\.[a-z_])", new, code)
    code = _STIMULUS_MODULE.sub("allen_ecephys.stimulus_analysis", code)
    return code, (review or Review()).findings(code)


def migrated_file(text: str, notebook: bool) -> tuple[str, list[Finding]]:
    """Return a script or notebook with its imports rewritten, and what to look at."""
    if not notebook:
        code, found = migrated_code(text)
        return code, [Finding(f"line {number}", line, why) for number, line, why in found]
    document: dict[str, Any] = json.loads(text)
    findings: list[Finding] = []
    review = Review()
    for number, cell in enumerate(document.get("cells", [])):
        if cell.get("cell_type") != "code":
            continue
        source = cell["source"]
        code, found = migrated_code(source if isinstance(source, str) else "".join(source), review)
        cell["source"] = code if isinstance(source, str) else code.splitlines(keepends=True)
        findings += [Finding(f"cell {number}, line {line}", shown, why) for line, shown, why in found]
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n", findings


@click.command(short_help="Make code written for AllenSDK import this package.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--write", is_flag=True, help="Change the files; without it the changes are shown.")
def migrate(files: tuple[Path, ...], write: bool) -> None:
    """Make scripts and notebooks written for AllenSDK import this package.

    Imports in FILES (.py or .ipynb) are rewritten; what else a person has to look at is listed with its reason.

    \b
      allen-ecephys migrate analysis.py
      allen-ecephys migrate --write *.ipynb
    """
    from allen_ecephys.errors import in_words
    from allen_ecephys.files import read_regular, write_atomically

    for path in files:
        if path.suffix not in (".py", ".ipynb"):
            msg = f"{path} is neither a script (.py) nor a notebook (.ipynb)"
            raise click.UsageError(msg)
        content = read_regular(path)
        try:
            text = content.decode().replace("\r\n", "\n")
            changed, findings = migrated_file(text, path.suffix == ".ipynb")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = "text in UTF-8" if isinstance(error, UnicodeDecodeError) else "notebook"
            msg = f"{path} is no {what}: {in_words(error)}"
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
