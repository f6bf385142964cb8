"""The documentation is what the code is: generated pages are fresh, links lead somewhere, commands shown exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from hornbook import stages
from hornbook.cli import app
from hornbook.config import build, plain, required

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", *ROOT.glob("README.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def fenced(page: Path, *languages: str) -> Iterator[str]:
    """The blocks of code of a page."""
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if language in languages:
            yield text


def commands() -> list[tuple[str, str]]:
    """Every command line of ours that a page shows: (page, command)."""
    return [
        (name, line.split(" #")[0].strip())
        for page, name in zip(PAGES, NAMES, strict=True)
        for text in fenced(page, "sh", "bash", "console")
        for line in text.splitlines()
        if line.startswith("hornbook ")
    ]


def generated() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.pages()
    return pages


def test_the_reference_is_up_to_date() -> None:
    there = {page.name: page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md")}
    assert there == generated(), "`make docs` writes docs/reference anew"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_page_is_reached_from_the_first() -> None:
    start = ROOT / "docs" / "README.md"
    linked = {(start.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", start.read_text())}
    missing = {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - linked - {start}
    assert {page.name for page in missing} <= {"benchmarks.md"}


@pytest.mark.parametrize(("page", "command"), commands(), ids=lambda value: value.replace("/", " "))
def test_every_command_shown_can_be_given(page: str, command: str) -> None:
    words = [word for word in shlex.split(command)[1:] if word not in ("|", ">")]
    try:
        app.parse_args(words)
    except CycloptsError as error:
        pytest.fail(f"{page}: {command}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_recipe_shown_has_keys_that_exist(page: Path) -> None:
    for text in fenced(page, "toml"):
        for line in _repeated(text):
            for name, table in tomllib.loads(line).items():
                _check(name, table)


def _repeated(text: str) -> list[str]:
    """A block, or its lines one by one where it shows several ways to write the same one."""
    return text.splitlines() if text.count("\ncrawl = ") else [text]


def _check(name: str, table: object) -> None:
    values = dict(table) if isinstance(table, dict) else {}
    stage = stages.load(values.pop("stage", name))
    values.pop("optional", None)
    missing = {key: {} if key == "models" else "x" for key in required(stage.config) if key not in values}
    assert plain(build(stage.config, values | missing, where=name))
