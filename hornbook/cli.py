"""The command line: stages as commands, and a few words about runs. Importing this imports no torch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hornbook import __version__, ranks
from hornbook.errors import HornbookError, Interrupted
from hornbook.stages import SUMMARIES

STAGES = Group("Stages", sort_key=1)
RUNS = Group("Whole systems and their runs", sort_key=2)
RunsFolder = Annotated[Path, Parameter(name="--runs", help="Folder that holds the runs.")]

app = App(
    name="hornbook",
    help="From raw web text to an aligned language model; every stage is a command, and what it makes is a folder.",
    version=__version__,
    help_flags=("--help", "-h"),
    help_epilogue="Every command explains itself: `hornbook pretrain --help`. "
    "The whole story: `hornbook run recipes/demo.toml`.",
    exit_on_error=False,
    print_error=False,
)
for _place, (_name, _summary) in enumerate(SUMMARIES.items()):
    app.command(f"hornbook.cli:{_name}", name=_name, help=_summary, group=STAGES, sort_key=_place)


def __getattr__(name: str) -> Any:
    """The command of a stage, made when it is first used: so only that stage's module is imported."""
    if name not in SUMMARIES:
        raise AttributeError(name)
    from hornbook.stages import load

    stage = load(name)

    def command(config: Any, *, runs: Path = Path("runs")) -> None:
        from hornbook.config import check
        from hornbook.execute import execute
        from hornbook.recipe import find_inputs

        config = find_inputs(stage, check(config), runs)
        if stage.makes is None:
            stage.function(config)
        else:
            print(execute(stage, config, runs=runs))

    command.__name__ = name
    command.__doc__ = stage.config.__doc__
    command.__annotations__ = {
        "config": Annotated[stage.config, Parameter(name="*")],
        "runs": RunsFolder,
        "return": None,
    }
    # The summary is said by the list of commands; what the docstring says beyond it follows the options.
    made = App(name=name, help_epilogue=" ".join((stage.config.__doc__ or "").partition("\n\n")[2].split()))
    made.default(command)
    return made


@app.command(group=RUNS)
def run(
    recipe: Path,
    *,
    set: Annotated[
        tuple[str, ...], Parameter(negative="", help="Override one key: --set pretrain.depth=2. May be repeated.")
    ] = (),
    runs: RunsFolder = Path("runs"),
) -> None:
    """Run a recipe: make what is stale, in order, and a page about the whole.

    Parameters
    ----------
    recipe
        A TOML file with a table for each stage, such as recipes/demo.toml.
    """
    from hornbook.recipe import read_recipe, run_recipe

    print(run_recipe(read_recipe(recipe, set), runs=runs))


@app.command(name="runs", group=RUNS)
def list_(
    *,
    verify: Annotated[bool, Parameter(negative="", help="Check every file against its manifest.")] = False,
    runs: RunsFolder = Path("runs"),
) -> None:
    """List the runs: what was made, from what, and how large it is."""
    from hornbook.manifest import list_runs
    from hornbook.manifest import verify as check

    table = Table("run", "makes", "made from", "files", "size", box=None, header_style="bold", pad_edge=False)
    for manifest in list_runs(runs):
        if verify:
            check(runs / manifest.name)
        size = sum(entry["size"] for entry in manifest.files.values())
        made_from = ", ".join(dict.fromkeys(entry["name"] for entry in manifest.inputs.values()))
        table.add_row(manifest.name, manifest.makes, made_from, str(len(manifest.files)), f"{size / 1e6:.1f} MB")
    if not table.row_count:
        raise HornbookError(f"there are no runs in {runs}", hint="`hornbook run recipes/demo.toml` makes some")
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command(group=RUNS)
def report(run: Path, *, runs: RunsFolder = Path("runs")) -> None:
    """Draw the page of a run again, and print where it is; of a run that is being made, until it is there.

    Parameters
    ----------
    run
        A run's folder or name, or a recipe's table, such as demo/align; or the stage that is at work, such as pretrain.
    """
    from hornbook.execute import write_report
    from hornbook.live import find_going, follow
    from hornbook.recipe import find_run

    if going := find_going(runs, run):
        return follow(runs, going)
    folder = find_run(runs, run)
    write_report(folder)
    print(folder / "report.html")


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends a command in order also where no stage is at work (a stage at work finishes its step and saves)."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped as asked; what was made stays", hint="run the same command again to go on")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _one_result() -> Iterator[None]:
    """Of several processes only the first prints what was made; all part in the end."""
    with redirect_stdout(StringIO()) if ranks.rank() > 0 else nullcontext():
        yield
    ranks.leave()


def main() -> None:
    """Run the command line; a person's mistake ends with `error:` and `hint:`, never with a traceback."""
    # Threads that wait without spinning: when another program has one of two cores, training is 7 times as fast.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with _stoppable(), _one_result():
            command, bound, _ = app.parse_args(sys.argv[1:])
            command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        errors.print(Text(f"error: {error}"))
        errors.print(Text("\nhint: `hornbook --help` lists the commands, `hornbook COMMAND --help` explains one"))
        sys.exit(2)
    except HornbookError as error:
        if ranks.may_tell():
            errors.print(Text(f"error: {error.message}"))
            if error.hint:
                errors.print(Text(f"\nhint: {error.hint}"))
        ranks.abandon(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone (`hornbook runs | head`): nothing is left to say.
        sys.stderr.close()
    except OSError as error:
        errors.print(Text(f"error: {error.filename or 'the system'}: {error.strerror or error}"))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
