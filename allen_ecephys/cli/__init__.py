"""The ``allen-ecephys`` command: the only code that sees all three rooms, importing each inside its commands."""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from allen_ecephys.compiled_code import check_threads_of_numba
from allen_ecephys.errors import AllenEcephysError
from allen_ecephys.version import __version__

from .browsing import list_sessions, list_units
from .cache import cache
from .convert import convert
from .demo import demo
from .info import info
from .metrics import metrics
from .migrate import migrate
from .process import process
from .report import report
from .simulate import simulate
from .speaking import AS_JSON, if_stopped, in_words_of, invoked_words


class _Stopped(SystemExit):
    """The system told the command to end."""


@contextmanager
def _unwinding_when_terminated() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into what Ctrl-C does: every block ends, drafts are removed, the exit code is 128 + n."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise _Stopped(128 + number)

    ours = {}
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows: no SIGHUP
        numbers = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
        ours = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, before in ours.items():
            signal.signal(number, before)


def _said(error: AllenEcephysError | OSError) -> str:
    """Return what an error says; of the system's own, what it could not do with which file, without its number."""
    if isinstance(error, AllenEcephysError) or error.filename is None or not error.strerror:
        return str(error)
    return f"{error.filename!s:.200}: {error.strerror[0].lower()}{error.strerror[1:]}"


#: Where a context keeps the command that was called, and its name in words.
_INVOKED = "allen_ecephys.cli.invoked"


class _PlainErrors(click.Group):
    """A group whose commands end in one readable line, not a traceback, for errors about input and files."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``--debug`` wherever it stands: who repeats a command that failed adds it at the end."""
        ours = args[: args.index("--")] if "--" in args else args
        if "--debug" in ours:
            args = ["--debug", *(word for word in ours if word != "--debug"), *args[len(ours) :]]
        ctx.meta[_INVOKED] = invoked_words(self, args)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the environment variables beneath the commands."""
        from allen_ecephys.config import SETTINGS

        with formatter.section("Environment variables"):
            formatter.write_dl([(one.variable, f"{one.meaning} (default: {one.default})") for one in SETTINGS])
        super().format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> object:
        command, words = ctx.meta[_INVOKED]
        try:
            with _unwinding_when_terminated():
                return super().invoke(ctx)
        except (AllenEcephysError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            message = f"{in_words_of(command, _said(error))} (run with --debug for the traceback)"
            raise click.ClickException(message) from error
        except KeyboardInterrupt:
            click.echo(f"Interrupted. {if_stopped(words)}", err=True)
            sys.exit(128 + signal.SIGINT)
        except _Stopped:
            click.echo(f"Told to end. {if_stopped(words)}", err=True)
            raise


@click.group(cls=_PlainErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="allen-ecephys")
@click.option("--debug", is_flag=True, help="Show tracebacks and log messages; may stand anywhere.")
def main(debug: bool) -> None:
    """Fetch, read and produce the Allen Visual Coding - Neuropixels recordings.

    \b
    EXAMPLES
      allen-ecephys demo                    the whole path on simulated sessions, in under a minute
      allen-ecephys COMMAND --help          what a command does and takes
    """
    # File names may hold what the terminal cannot show: it is escaped, as it is where errors go.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s")
    check_threads_of_numba()


@main.command(short_help="Print every setting, its environment variable and its value.")
@AS_JSON
def config(as_json: bool) -> None:
    """Print every setting: its environment variable, the value in force, and what it does."""
    from allen_ecephys.config import SETTINGS

    if as_json:
        found = [{"variable": one.variable, "value": one.value, "meaning": one.meaning} for one in SETTINGS]
        click.echo(json.dumps(found, indent=1))
        return
    for setting in SETTINGS:
        click.echo(f"{setting.variable}={setting.value}\n    {setting.meaning}")


for command in (demo, cache, list_sessions, list_units, info, report, metrics, simulate, process, convert, migrate):
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
