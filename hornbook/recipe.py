"""A whole system in one TOML file: a table a stage, run in order, building only what is stale.

crawl = "https://example.org/"      # one line for a stage's first field, or [crawl] with more
[curate]
[pretrain]                          # the input that a stage needs is the newest one made above it
[adapt]
stage = "pretrain"                  # a table of any name can be any stage
base = "pretrain"                   # and name the table that it takes from
optional = true                     # left out, with a notice, when there is nothing for it to work on
planned = { seconds = 60.0 }        # what `hornbook plan` said of it, to be compared with what it took

A line whose name is no stage is a folder that others may name: `base = "path/to/model"` instead of a table [base].
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from hornbook import progress as talk
from hornbook import stages
from hornbook.config import Stage, Takes, build, convert, marks, required
from hornbook.errors import EmptyInput, UsageError
from hornbook.execute import execute
from hornbook.manifest import read_manifest
from hornbook.ranks import rank


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a recipe: a stage with what it is told."""

    name: str
    stage: Stage
    values: dict[str, Any]
    optional: bool
    where: str
    planned: Mapping[str, float]
    """Seconds, bytes and tokens a second that were planned for it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe file, read and checked as far as it can be before anything is made."""

    name: str
    tables: tuple[Table, ...]
    given: Mapping[str, Path]
    """Folders made elsewhere, by the names that tables know them by."""


def read_recipe(path: Path, settings: Iterable[str] = ()) -> Recipe:
    """Read a recipe, with `table.key=value` settings over it.

    Raises:
        UsageError: the file cannot be read, or a table, key, value or reference is wrong.
    """
    if not path.is_file():
        raise UsageError(f"there is no recipe {path}", hint="a recipe is a TOML file such as recipes/demo.toml")
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    for setting in settings:
        _set(values, setting)
    given = {name: Path(value) for name, value in values.items() if _is_given(name, value)}
    tables = tuple(_table(name, value, f"{path}: [{name}]") for name, value in values.items() if name not in given)
    if not tables:
        raise UsageError(f"{path} has no table", hint=f"a table is named after a stage: {', '.join(stages.MAKERS)}")
    _check(tables, given)
    return Recipe(name=path.stem, tables=tables, given=given)


def _is_given(name: str, value: Any) -> bool:
    return isinstance(value, str) and name not in stages.NAMES and Path(value).exists()


def _set(values: dict[str, Any], setting: str) -> None:
    """Apply one `table.key=value`; a value that is no TOML is a text."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise UsageError(f"--set {setting} has no =", hint="--set pretrain.depth=2")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = name.strip().split(".")
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UsageError(f"--set {setting}: {parent} is {place!r}, not a table")
    place[last] = value


def _table(name: str, table: Any, where: str) -> Table:
    values = dict(table) if isinstance(table, dict) else {"": table}
    kind = values.pop("stage", name)
    if kind not in stages.NAMES:
        close = difflib.get_close_matches(str(kind), stages.MAKERS, n=1)
        raise UsageError(
            f"{where}: there is no stage {kind!r}",
            hint=f'did you mean "{close[0]}"?' if close else f"stages: {', '.join(stages.MAKERS)}",
        )
    stage = stages.load(kind)
    if stage.makes is None:
        raise UsageError(
            f"{where}: {kind} makes no folder, so it has no place in a recipe", hint=f"run `hornbook {kind}` by itself"
        )
    if "" in values:
        # The one-line form gives the stage's first field.
        values = {dataclasses.fields(stage.config)[0].name: values.pop("")}
    optional = convert(values.pop("optional", False), bool, f'{where} key "optional"')
    planned = _planned(values.pop("planned", {}), f'{where} key "planned"')
    return Table(name=name, stage=stage, optional=optional, values=values, where=where, planned=planned)


def _planned(value: Any, where: str) -> dict[str, float]:
    from hornbook.report.planned import WHAT

    planned: dict[str, float] = convert(value, dict[str, float], where)
    if unknown := sorted(planned.keys() - WHAT.keys()):
        raise UsageError(f'{where} has no key "{unknown[0]}"', hint=f"it has: {', '.join(WHAT)}")
    return planned


def _check(tables: tuple[Table, ...], given: Mapping[str, Path]) -> None:
    """Find wrong keys, values and references before the first stage starts."""
    done = dict(given)
    for table in tables:
        _check_files(table, build(table.stage.config, _resolve(table, done, tables), where=table.where))
        done[table.name] = Path(table.name)


def _check_files(table: Table, config: Any) -> None:
    """Find paths to nothing among those that are no run's."""
    takes = marks(table.stage.config, Takes)
    for key, value in vars(config).items():
        if key not in takes and isinstance(value, Path) and not value.exists():
            raise UsageError(f'{table.where} key "{key}": there is no file or folder {value}')


def _resolve(table: Table, done: Mapping[str, Path], tables: tuple[Table, ...]) -> dict[str, Any]:
    """A table's values with the names of other tables replaced by what those made."""
    values = dict(table.values)
    for field, takes in marks(table.stage.config, Takes).items():
        makers = [other.name for other in tables if other.stage.makes == takes.kind and other.name in done]
        value = values.get(field)
        if isinstance(value, dict):
            values[field] = {label: _refer(table, field, inner, done, tables) for label, inner in value.items()}
        elif value is not None:
            values[field] = _refer(table, field, value, done, tables)
        elif makers and takes.when_there:
            values[field] = done[makers[-1]]
        elif field in required(table.stage.config):
            if not makers:
                raise UsageError(
                    f"{table.where} needs {takes.kind}, and no table above it makes any",
                    hint=f'{field} = "path/to/a/run"',
                )
            takes_many = get_origin(get_type_hints(table.stage.config)[field]) is dict
            values[field] = {name: done[name] for name in makers} if takes_many else done[makers[-1]]
    return values


def _refer(table: Table, field: str, value: Any, done: Mapping[str, Path], tables: tuple[Table, ...]) -> Any:
    if not isinstance(value, str):
        return value
    if value in done:
        return done[value]
    if any(value == other.name for other in tables) and not Path(value).exists():
        raise UsageError(
            f'{table.where} key "{field}": [{value}] makes nothing that is there yet',
            hint=f"move [{value}] above [{table.name}]" if value != table.name else "a table cannot take from itself",
        )
    if not Path(value).exists():
        close = difflib.get_close_matches(value, done, n=1)
        raise UsageError(
            f'{table.where} key "{field}": there is no table, file or folder "{value}"',
            hint=f'did you mean "{close[0]}"?' if close else f"tables above it: {', '.join(done) or 'none'}",
        )
    return value


def run_recipe(recipe: Recipe, *, runs: Path) -> Path:
    """Make what is stale, in order, then the page of the whole.

    Returns:
        The page, `<runs>/<recipe>.html`; beside it `<recipe>.json` maps each table to its run.
    """
    done: dict[str, Path] = {}
    for number, table in enumerate(recipe.tables, 1):
        talk.say(f"[{number}/{len(recipe.tables)}] {table.name}")
        known = {**recipe.given, **done}
        values = _resolve(table, known, _without_skipped(recipe, done, table))
        config = build(table.stage.config, values, where=table.where)
        try:
            done[table.name] = execute(table.stage, config, runs=runs)
        except EmptyInput as error:
            if not table.optional:
                raise
            talk.say(f"{table.name}: left out, it is optional and there is nothing for it: {error.message}")
    for folder in done.values():
        _tell(read_manifest(folder).results)
    _compare(recipe, done)
    page = runs / f"{recipe.name}.html"
    if rank() == 0:
        _write_page(recipe, done, page)
    return page


def _compare(recipe: Recipe, done: Mapping[str, Path]) -> None:
    """What was planned, beside what happened."""
    from hornbook.report.planned import lines

    for table in recipe.tables:
        if table.planned and table.name in done:
            for line in lines(table.name, done[table.name], table.planned):
                talk.say(line)


def _tell(results: Mapping[str, Any]) -> None:
    """What was measured, and a few answers, for whoever does not open the page."""
    for row in results.get("improvements", ()):
        change = f"{row['before']:.3f} -> {row['after']:.3f}"
        talk.say(f"{row['stage']}: {row['metric']} {change}, {row['better']} is better")
    for sample in filter(itemgetter("chat"), results.get("samples", ())):
        talk.say(f"\n> {sample['prompt']}\n{sample['answers'][results['speaker']].strip()}")


def _without_skipped(recipe: Recipe, done: Mapping[str, Path], current: Table) -> tuple[Table, ...]:
    """The tables that were made, and the current one: later references skip what was left out."""
    return tuple(table for table in recipe.tables if table.name in done or table is current)


def _write_page(recipe: Recipe, done: Mapping[str, Path], page: Path) -> None:
    from hornbook.report import render_recipe

    tables = json.dumps({name: folder.name for name, folder in done.items()}, indent=1) + "\n"
    _replace(page.with_suffix(".json"), tables)
    planned = {table.name: table.planned for table in recipe.tables if table.planned}
    _replace(page, render_recipe(recipe.name, dict(done), planned=planned))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def find_inputs(stage: Stage, config: Any, runs: Path) -> Any:
    """The config with runs that were given by name replaced by their folders."""

    def find(value: Any) -> Any:
        if isinstance(value, dict):
            return {label: find(inner) for label, inner in value.items()}
        return find_run(runs, value) if isinstance(value, Path) and not value.exists() else value

    fields = marks(stage.config, Takes)
    return dataclasses.replace(config, **{field: find(getattr(config, field)) for field in fields})


def find_run(runs: Path, name: Path) -> Path:
    """A run by its folder, its name, a recipe's table (`demo/align`) or the start of its name, if only one starts so.

    Raises:
        UsageError: there is none, or there are several.
    """
    if name.is_dir():
        return name
    recipe, _, table = str(name).partition("/")
    made = runs / f"{recipe}.json"
    if table and made.is_file() and table in (tables := json.loads(made.read_text())):
        return runs / str(tables[table])
    is_name = len(name.parts) == 1 and not name.is_absolute()
    found = sorted(path.parent for path in runs.glob(f"{name}*/manifest.json")) if is_name else []
    if len(found) != 1:
        what = (
            f"several runs start with {name}: {', '.join(path.name for path in found)}"
            if found
            else f"there is no file or folder {name}, and no run of that name in {runs}"
        )
        raise UsageError(what, hint="`hornbook runs` lists the runs there are")
    read_manifest(found[0])
    return found[0]
