"""``allen-ecephys convert``: an NWB file from HDF5 to Zarr, and back."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write an NWB file as a Zarr store, or a store as HDF5.")
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path))
def convert(source: str, target: Path) -> None:
    """Write the NWB file SOURCE as TARGET: HDF5 as a Zarr store, or a Zarr store as HDF5.

    What SOURCE is says what it becomes: a file a store (a folder, named *.nwb.zarr by habit), a store, which may also
    be the address of one, a file. TARGET appears when it is whole; nothing is replaced.

    \b
    EXAMPLES
      allen-ecephys convert session_715093703.nwb session_715093703.nwb.zarr
      allen-ecephys convert https://example.org/session_715093703.nwb.zarr session_715093703.nwb
    """
    from allen_ecephys import convert_nwb

    for path in convert_nwb(source, target):
        click.echo(f"left out, as it is kept as a Python pickle: {path}", err=True)
    click.echo(target)
