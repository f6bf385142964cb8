"""Writes docs/reference from the code: `make docs`. tests/test_docs.py fails where a page is out of date."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import tomllib
import types
import typing
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import tomli_w
from rich.console import Console

from hornbook import errors, execute, manifest, stages
from hornbook.cli import app
from hornbook.config import Takes, marks, required
from hornbook.model.families import FAMILIES, LLAMA_KEYS, Family
from hornbook.model.rotary_config import SCALINGS
from hornbook.stages import curate
from hornbook.text.identifiers import KINDS
from hornbook.text.judge import blocklist_lines
from hornbook.text.privacy import DEFAULT
from hornbook.text.rules.c4 import c4_lines
from hornbook.text.rules.quality import FILTERS
from hornbook.training.options import Lora

ROOT = Path(__file__).parents[1]
NOTE = "<!-- Written by docs/generate.py (`make docs`); change the code instead. -->\n"
EVERYWHERE = LLAMA_KEYS.keys()
RUNNERS = ("run", "runs", "report")
TALK = tuple(stages.load(name).config for name in stages.NAMES if stages.load(name).makes is None)
"""Configs of the stages that make no folder, and so have no place in a recipe."""
SIMPLE = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", Any: "anything"}


def pages() -> dict[str, str]:
    """Every generated page, by its path below docs/reference."""
    made = {"commands.md": commands(), "recipes.md": recipes(), "rules.md": rules(), "runs.md": runs()}
    made["package.md"] = package()
    made["families.md"] = families()
    return {name: f"{NOTE}\n{text.strip()}\n" for name, text in made.items()}


# -- families -------------------------------------------------------------------------------------------------------


def families() -> str:
    """Which model folders are read and written."""
    return "\n\n".join(
        [
            "# Model families",
            "Every command that takes a model takes a Hugging Face folder of one of these: `config.json` and "
            "`model.safetensors`, or its shards with their index. What is trained from it is saved as the same kind "
            "of folder. The family is `model_type` in `config.json`; others are refused.",
            _table(
                ("`model_type`", "models", "what its decoder switches on", "projections for `lora.targets`"),
                [
                    (f"`{name}`", family.models, _switches(family), _targets(family))
                    for name, family in FAMILIES.items()
                ],
            ),
            "Checked for each, in float32 to 1e-4, by `tests/model/test_families.py` and `tests/model/adapters`: a "
            "model that transformers saved gives the same logits here; saved here, the same there, with nothing "
            "missing and nothing unexpected; decoding with kept keys and values equals the full pass, and greedy "
            "completions equal those of `generate`; PEFT's adapters on the family load here, and ours there.",
            f"Rotary frequencies may be scaled by {_words(SCALINGS)}; any family may. Keys of `config.json` that "
            "would change the computation and are not understood are refused by name, and so are missing, extra, "
            "misshapen or non-finite tensors, paths that leave the folder, and weights in pickle files (`.bin`).",
        ]
    )


def _switches(family: Family) -> str:
    told = [f"`{name}`" for name in family.keys if name not in EVERYWHERE]
    always = [f"`{name} = {value}`" for name, value in family.parts.items()]
    windows = [] if family.windows == "none" else [f"windows {family.windows}"]
    return ", ".join([*always, *told, *windows]) or "nothing"


def _targets(family: Family) -> str:
    """The last part of every projection's name in the family's files, by a model of one layer."""
    fused, gated = (family.parts.get(name, name == "gated_mlp") for name in ("fused_projections", "gated_mlp"))
    attention = ["qkv_proj"] if fused else ["q_proj", "k_proj", "v_proj"]
    mlp = (["gate_up_proj"] if fused else ["gate_proj", "up_proj"]) if gated else ["up_proj"]
    paths = [f"self_attn.{name}" for name in (*attention, "o_proj")] + [f"mlp.{name}" for name in (*mlp, "down_proj")]
    theirs = [family.names.module(f"model.layers.0.{path}").rpartition(".")[2] for path in paths]
    return ", ".join(f"`{name}`" for name in dict.fromkeys(theirs))


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names if name != "default")


# -- commands -------------------------------------------------------------------------------------------------------


def commands() -> str:
    """What `--help` says, of all."""
    parts = ["# Commands", "What `--help` says, of `hornbook` and of each of its commands.", _help()]
    for name in (*stages.NAMES, *RUNNERS):
        parts += [f"## hornbook {name}", _help(name)]
    return "\n\n".join(parts)


def _help(*words: str) -> str:
    console = Console(width=100, file=io.StringIO(), color_system=None, force_terminal=False)
    app.help_print(words, console=console)
    lines = console.file.getvalue().rstrip("\n").split("\n")  # type: ignore[attr-defined]
    return "```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```"


# -- recipes --------------------------------------------------------------------------------------------------------


def recipes() -> str:
    """The keys of every stage."""
    parts = [
        "# Recipes",
        "A recipe is a TOML file with a table for each stage; the stages run in the order of the tables. The same keys "
        "are the options of the command: `train_tokens = 1e6` is `--train-tokens 1e6`, `lora = { r = 8 }` is "
        "`--lora.r 8`.",
        "## Any table",
        _table(
            ("key", "type", "default", "meaning"),
            [
                ("`stage`", "text", "the table's name", "The stage that the table runs."),
                ("`optional`", "true or false", "`false`", "Leave the table out when there is nothing for it."),
            ],
        ),
        'A stage that can be given in one line, `crawl = "..."`, takes it as its first key. A key that takes what '
        "another stage makes may name a table above it, a run's folder or a folder made elsewhere. Where the default "
        'is "the newest above", a recipe takes what the last table above made of that kind (for `models`, of all '
        "tables), and a command wants it named.",
    ]
    for name in stages.NAMES:
        parts += _stage(name)
    return "\n\n".join([*parts, "## lora", "The keys of a `lora = { ... }` table.", _keys(Lora)])


def _stage(name: str) -> list[str]:
    stage = stages.load(name)
    makes = f"Makes {stage.makes}." if stage.makes else "Makes no folder, so it has no place in a recipe."
    return [f"## {name}", f"{stages.SUMMARIES[name]} {makes}", _keys(stage.config)]


def _keys(config: type[Any]) -> str:
    hints, said, takes = typing.get_type_hints(config), attribute_docs(config), marks(config, Takes)
    rows = []
    for field in dataclasses.fields(config):
        kind = type_name(hints[field.name])
        kind = f"{kind}: {takes[field.name].kind or 'any'}" if field.name in takes else kind
        rows.append((f"`{field.name}`", kind, _default(config, field), said[field.name]))
    return _table(("key", "type", "default", "meaning"), rows)


def attribute_docs(kind: type[Any]) -> dict[str, str]:
    """What stands as a string below each attribute of a class, and of those that it inherits from."""
    found = {name: said for base in kind.__bases__ if base is not object for name, said in attribute_docs(base).items()}
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef))
    for above, node in pairwise(body):
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name) and isinstance(node, ast.Expr):
            found[above.target.id] = " ".join(str(ast.literal_eval(node.value)).split())
    return found


def type_name(hint: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(one) for one in arguments if one is not type(None))
    if origin is Literal:
        return ", ".join(f"`{toml(one)}`" for one in arguments)
    if origin in (tuple, dict):
        return f"list of {type_name(arguments[0])}s" if origin is tuple else f"table of {_plural(arguments[1])}"
    return "table" if dataclasses.is_dataclass(hint) else SIMPLE[hint]


def _plural(hint: Any) -> str:
    return f"{type_name(hint)}s" if get_origin(hint) is None else "tables"


def _default(config: type[Any], field: dataclasses.Field[Any]) -> str:
    takes = marks(config, Takes).get(field.name)
    if takes and (takes.when_there or field.name in required(config)) and config not in TALK:
        return "the newest above, where there is one" if takes.when_there else "the newest above"
    if field.name in required(config):
        return "required"
    made = field.default_factory is not dataclasses.MISSING
    value = field.default_factory() if made else field.default  # type: ignore[misc]
    return "" if value is None else f"`{toml(value)}`"


def toml(value: Any) -> str:
    """A value as it stands in a TOML file, on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }" if value else "{}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").strip()


# -- rules ----------------------------------------------------------------------------------------------------------


def rules() -> str:
    """What `curate` can remove and mask."""
    return "\n\n".join(
        [
            "# Rules of curate",
            "## filters",
            "`filters = { name = { option = value } }`, applied in the order in which they are written. Those with a "
            "star are the default.",
            _table(("filter", "options", "keeps a document with"), map(_rule, FILTERS)),
            "## dedup",
            "`dedup = { name = { option = value } }`, applied in the order in which they are written. Those with a "
            "star are the default.",
            _table(("way", "options", "meaning"), (_way(name, way) for name, way in curate.WAYS.items())),
            "## clean",
            "`clean = { name = { option = value } }`: what is cut from texts before they are judged.",
            _table(("edit", "options", "meaning"), map(_rule, (c4_lines, blocklist_lines))),
            "## mask",
            "Those with a star are the default.",
            _table(("kind", "mark"), (_kind(name) for name in KINDS)),
        ]
    )


def _rule(function: Callable[..., Any]) -> tuple[str, ...]:
    name = function.__name__
    return (_starred(name, curate.FILTERS), _options(function), _first(function.__doc__))


def _way(name: str, function: Callable[..., Any]) -> tuple[str, ...]:
    return (_starred(name, curate.DEDUP), _options(function), _first(function.__doc__))


def _kind(name: str) -> tuple[str, ...]:
    return (_starred(name, DEFAULT), f"`{KINDS[name].mark}`")


def _starred(name: str, default: Iterable[str]) -> str:
    return f"`{name}`" + (" *" if name in default else "")


def _options(function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    known = (one for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is not one.empty)
    return ", ".join(f"`{one.name} = {toml(one.default)}`" for one in known)


# -- runs -----------------------------------------------------------------------------------------------------------


def runs() -> str:
    """The run folder, its manifest, and the errors."""
    shell = inspect.getdoc(execute) or ""
    tree = inspect.getdoc(errors) or ""
    return "\n\n".join(
        [
            "# Runs",
            _fenced(shell),
            "## manifest.json",
            inspect.getdoc(manifest) or "",
            "```text\n" + "\n".join(_fields(manifest.Manifest)) + "\n```",
            f"Kept in the folder, but neither hashed nor promised: {', '.join(manifest.OCCASION)}.",
            "## Errors and exit codes",
            _fenced(tree),
        ]
    )


def _fields(kind: type[Any]) -> Iterable[str]:
    said = attribute_docs(kind)
    for field in dataclasses.fields(kind):
        yield f"{field.name:<10}{field.type:<27}{said.get(field.name, '')}".rstrip()


def _fenced(text: str) -> str:
    """A docstring, its indented blocks as code."""
    blocks = text.split("\n\n")
    return "\n\n".join(f"```text\n{block}\n```" if block.startswith("    ") else block for block in blocks)


# -- package --------------------------------------------------------------------------------------------------------


def package() -> str:
    """Every module, with the first sentence of what it says of itself."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    parts = ["# The package", "Each line may import what stands below it, and nothing above; a test holds it to that."]
    parts.append("```text\n" + "\n".join(line.replace("hornbook.", "") for line in layers) + "\n```")
    for folder in ("", "stages", "text", "model", "learn", "judge", "report"):
        parts += [f"## hornbook/{folder}", _table(("file", "what it is"), _modules(ROOT / "hornbook" / folder))]
    return "\n\n".join(parts)


def _modules(folder: Path) -> Iterable[tuple[str, str]]:
    deep = folder.name != "hornbook"
    for path in sorted(folder.rglob("*.py") if deep else folder.glob("*.py")):
        if said := ast.get_docstring(ast.parse(path.read_text())):
            yield f"`{path.relative_to(folder)}`", _first(said)


def _first(text: str | None) -> str:
    """The first paragraph, on one line."""
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main() -> None:
    """Write every page."""
    folder = ROOT / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
