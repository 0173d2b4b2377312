"""What every command says in the same way: errors in words of its options, how it was stopped, that it compiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import click

#: For every command that shows a table.
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

#: A keyword argument in a message of the library: ``overwrite=True``, ``stream='imec0'``, ``settings=...``.
_ARGUMENT = re.compile(r"\b([a-z][a-z_]*)=(True|False|\.\.\.|'[^']*'|\"[^\"]*\"|-?[\w.]+)")

_STAGES = "Steps that were finished are kept; the same command goes on after them."
#: What becomes of the work of a command that is stopped, by its first words; the longest that fits.
_IF_STOPPED = {
    "": "Nothing unfinished is left under a final name; the same command starts anew.",
    "cache": "What came so far is kept; the same command goes on.",
    "convert": "The unfinished copy was removed, and what is converted is unchanged; the same command starts anew.",
    "demo": "Figures that were drawn are kept; the same command makes its project and cache anew.",
    "migrate": "Every file is whole, as it was or, with --write, rewritten; the same command does the rest.",
    "cache export": "The unfinished copy was removed; the same command starts anew.",
    "process": _STAGES,
    "process package": "No session file was written; the same command starts anew.",
    "process simulate": "The unfinished recording was removed; the same command starts anew.",
    **dict.fromkeys(
        (
            "config",
            "info",
            "sessions",
            "units",
            "cache plan",
            "cache status",
            "process compare",
            "process list",
            "process log",
            "process plan",
            "process schema",
            "process sorters",
            "process status",
        ),
        "It only reads.",
    ),
}


def invoked_words(group: click.Group, args: Sequence[str]) -> tuple[click.Command, str]:
    """Return the command that `args` name, and its name in words below `group`: ``process run``."""
    command: click.Command = group
    words: list[str] = []
    for arg in args:
        if isinstance(command, click.Group) and arg in command.commands:
            command = command.commands[arg]
            words.append(arg)
    return command, " ".join(words)


def in_words_of(command: click.Command, message: str) -> str:
    """Return a message of the library with its arguments as the options of a command, where the command has them.

    Examples
    --------
    >>> option = click.Option(["--overwrite"], is_flag=True)
    >>> in_words_of(click.Command("report", params=[option]), "a.html exists already; pass overwrite=True")
    'a.html exists already; pass --overwrite'
    """
    options = {}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for name in (parameter.name or "", *(word.lstrip("-").replace("-", "_") for word in parameter.opts)):
                options[name] = options[f"n_{name}"] = parameter

    def as_option(found: re.Match[str]) -> str:
        option = options.get(found[1])
        if option is None:
            return found[0]
        word = max(option.opts, key=len)
        if found[2] in {"True", "False"} and option.is_flag:
            words = [word] if found[2] == "True" else option.secondary_opts
            return words[0] if words else found[0]
        value = option.make_metavar(click.Context(command)) if found[2] == "..." else found[2].strip("'\"")
        return f"{word} {value}"

    said = _ARGUMENT.sub(as_option, message)
    return re.sub(r"(--[\w-]+(?: \S+)?) \(\1\)", r"\1", said)  # where the message had named the option already


def if_stopped(words: str) -> str:
    """Return what becomes of the work of a command that is stopped by Ctrl-C or by the system."""
    fitting = [first for first in _IF_STOPPED if not first or f"{words} ".startswith(f"{first} ")]
    return _IF_STOPPED[max(fitting, key=len)]


@cache  # once a process, however many commands it runs
def announce_compiling() -> None:
    """Say once, on stderr, when numba begins to compile: the first run after an installation waits for it."""
    from numba.core import event

    class Announcement(event.Listener):
        def on_start(self, _event: Any) -> None:
            event.unregister("numba:compile", self)  # type: ignore[no-untyped-call]
            click.echo("compiling what counts and measures, once: later runs start at once ...", err=True)

        def on_end(self, _event: Any) -> None:
            """Do nothing: it was said."""

    event.register("numba:compile", Announcement())  # type: ignore[no-untyped-call]
