"""The command line: one module per command, found by its file's name.

A command's module has ``command``, a click command.  Its own work is to turn options into one
library call and the result into a report; every error leaves through `main`.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import click

from edgekit import __version__, registry
from edgekit.errors import EdgekitError, UnknownNameError
from edgekit.text import printable

_LINE = "\n"


class _Commands(click.Group):
    """Loads a command's module when the command is asked for, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(registry.names("cli"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            command: click.Command = registry.load("cli", cmd_name).command
        except UnknownNameError as error:
            ctx.fail(f"{error.message.replace('cli', 'command')} {error.hint or ''}".strip())
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _SUMMARIES.get(name, "")) for name in self.list_commands(ctx)]
            )


# Shown by `edgekit --help`, which must not import the commands; a test keeps it equal to theirs.
_SUMMARIES = {
    "benchmark": "Measure the latency of model files.",
    "compare": "Say which of two benchmarks is faster, and how sure that is.",
    "convert": "Convert a model to verified artifacts.",
    "devices": "List the devices of edgekit.toml, and what they answer.",
    "doctor": "Say what works on this machine, and how to get the rest.",
    "inspect": "Show what a model file holds.",
    "package": "Make dependencies for apps of verified artifacts.",
    "targets": "Show the kinds of machines that artifacts are made for.",
    "verify": "Compare an artifact with the model it was made from.",
}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgekit")
def cli() -> None:
    """One trained PyTorch model in; verified Core ML, TFLite and ONNX artifacts out."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 error, 2 usage, 3 a verdict failed, 130 Ctrl-C."""
    signal.signal(signal.SIGTERM, _terminated)
    given = sys.argv[1:] if arguments is None else list(arguments)
    verbose = bool({"-v", "--verbose"} & set(given))
    try:
        code = cli.main(given, prog_name="edgekit", standalone_mode=False) or 0
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except EdgekitError as error:
        code = _report(error, verbose=verbose)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        code = 130
    except BrokenPipeError:  # the reader of our output has gone, which is its right
        _drop_output()
        code = 0
    except Exception as error:  # noqa: BLE001 - the last door: a user gets a sentence, not a traceback
        _drop_output()
        code = _report(_unforeseen(error), verbose=verbose)
    sys.exit(code)


def _drop_output() -> None:
    """Let go what is still to be written to standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unforeseen(error: Exception) -> EdgekitError:
    """Return an error that nobody took care of as one of ours."""
    if isinstance(error, OSError) and error.strerror:
        said = EdgekitError(f"{error.filename or 'Standard output'}: {error.strerror}.")
    else:
        said = EdgekitError(
            f"edgekit itself failed: {type(error).__name__}: {error}",
            "This is a bug: run it again with -v, and report what it says.",
        )
    said.__cause__ = error
    return said


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _report(error: EdgekitError, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(error)
    click.echo(f"error: {printable(error.message, keep=_LINE)}", err=True)
    if error.hint:
        click.echo(f"\nhint: {printable(error.hint, keep=_LINE)}", err=True)
    return error.exit_code
