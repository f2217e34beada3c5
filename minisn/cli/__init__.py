"""The command line, ``minisn``.

Each command imports its modules when it runs, so that help is fast. A user's mistake ends with one
line on standard error, ``minisn: error: ...``, and exit status 1.
"""

import codecs
import errno
import importlib
import io
import os
import signal
import sys
import threading
from typing import ClassVar

import click

from .. import __version__
from ..errors import MinisnError, nearest


class Failure(click.ClickException):
    """An error that is printed in one line, without a traceback."""

    def show(self, file: object = None) -> None:
        """Print the error on standard error."""
        click.echo(f"minisn: error: {' '.join(self.message.split())}", err=True)


def _prepare() -> None:
    """Make Ctrl-C raise an exception, and make every string printable."""
    if threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    codecs.register_error("minisn", _write_anyway)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="minisn")


def _write_anyway(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write an undecodable byte unchanged, and an unprintable character as its escape sequence."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    byte = 0xDC80 <= code <= 0xDCFF  # a surrogate, which stands for an undecodable byte
    return bytes([code - 0xDC00]) if byte else f"\\u{code:04x}", error.start + 1


class Commands(click.Group):
    """A group that imports a command when it is called, and prints each error in one line."""

    places: ClassVar = {
        "train": "train",
        "sample": "look",
        "spectrum": "look",
        "evaluate": "evaluate",
        "report": "look",
        "presets": "presets",
        "data": "data",
        "bench": "bench",
        "study": "study",
        "paper": "paper",
        "coursework": "coursework",
        "conformance": "conformance",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in self.places:
            return None
        return getattr(importlib.import_module(f".{self.places[cmd_name]}", __name__), cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or suggest the nearest name."""
        if args[0] not in self.places and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}{nearest(args[0], self.places)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command, and turn errors that a user can cause into one line and an exit status."""
        _prepare()
        try:
            return super().invoke(ctx)
        except MinisnError as error:
            raise Failure(str(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{where}{error.strerror or error}") from None
        except MemoryError as error:
            raise Failure(
                f"out of memory ({error or 'an allocation failed'}); use a smaller "
                "width, batch_size or number of samples"
            ) from None
        except KeyboardInterrupt:
            click.echo("minisn: interrupted", err=True)
            ctx.exit(130)


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(__version__, prog_name="minisn", message="%(prog)s %(version)s")
def main() -> None:
    """Spectral normalization for GANs, from the equations to pictures.

    \b
    Train on digits, in about five minutes on two cores:
        minisn train
    Try it, in about a minute:
        minisn train mnist-tiny
    Show the spectral norms of a trained network:
        minisn spectrum runs/mnist-1

    \b
    To complete commands with the Tab key, add one line to your shell's startup file:
        bash:  eval "$(_MINISN_COMPLETE=bash_source minisn)"
        zsh:   eval "$(_MINISN_COMPLETE=zsh_source minisn)"
        fish:  _MINISN_COMPLETE=fish_source minisn | source
    """
