from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hornbook.errors import EmptyInput, UsageError
from hornbook.execute import execute
from hornbook.manifest import list_runs, read_manifest
from hornbook.recipe import Recipe, find_inputs, find_run, read_recipe, run_recipe
from hornbook.stages import load
from hornbook.stages.tokenize import Tokenize
from hornbook.text.document import Document, write_documents

BIRDS = ("heron", "wren", "plover", "swift", "dipper", "siskin")
CURATE = "[curate]\nfilters = {}\ndedup = {}\nworkers = 1\n"
TOKENIZE = "[tokenize]\nvocabulary = 300\nheld_out = 0.2\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a few rows of text."""
    monkeypatch.chdir(tmp_path)
    texts = [f"The {BIRDS[n % 6]} was seen {n} times by the river, and {n + 3} times by the sea." for n in range(30)]
    rows = [{"id": f"{n:02}", "text": text, "source": "notes"} for n, text in enumerate(texts)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def recipe(text: str, *settings: str) -> Recipe:
    Path("birds.toml").write_text(text)
    return read_recipe(Path("birds.toml"), settings)


def made(recipe: Recipe) -> dict[str, str]:
    """Run a recipe; the name of each table's run."""
    page = run_recipe(recipe, runs=Path("runs"))
    assert page == Path("runs/birds.html")
    tables: dict[str, str] = json.loads(Path("runs/birds.json").read_text())
    return tables


READ: tuple[tuple[str, str, tuple[str, ...], list[tuple[str, str, dict[str, Any], bool]]], ...] = (
    ("one line", 'crawl = "x"', (), [("crawl", "crawl", {"source": "x"}, False)]),
    ("a table", '[crawl]\nsource = "x"\npages = 5', (), [("crawl", "crawl", {"source": "x", "pages": 5}, False)]),
    (
        "a table of another name",
        'crawl = "x"\n[clean]\nstage = "curate"\nseed = 1',
        (),
        [("crawl", "crawl", {"source": "x"}, False), ("clean", "curate", {"seed": 1}, False)],
    ),
    (
        "an optional table",
        'crawl = "x"\n[curate]\noptional = true',
        (),
        [("crawl", "crawl", {"source": "x"}, False), ("curate", "curate", {}, True)],
    ),
    ("a number set", 'crawl = "x"\n[curate]', ("curate.seed=7",), [("curate", "curate", {"seed": 7}, False)]),
    ("a text set", "[crawl]", ("crawl.source=a b",), [("crawl", "crawl", {"source": "a b"}, False)]),
    ("a quoted text set", "[crawl]", ('crawl.source="5"',), [("crawl", "crawl", {"source": "5"}, False)]),
    (
        "a list set",
        'crawl = "x"\n[curate]',
        ('curate.mask=["email"]',),
        [("curate", "curate", {"mask": ["email"]}, False)],
    ),
    (
        "a key of a table in a table set",
        'crawl = "x"\n[curate]',
        ("curate.filters.gopher_length.min_words=5",),
        [("curate", "curate", {"filters": {"gopher_length": {"min_words": 5}}}, False)],
    ),
    ("a table set", "", ("crawl=x",), [("crawl", "crawl", {"source": "x"}, False)]),
    ("the last setting counts", 'crawl = "x"', ("crawl=y", "crawl=z"), [("crawl", "crawl", {"source": "z"}, False)]),
)


@pytest.mark.parametrize(("text", "settings", "tables"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_what_a_recipe_says(text: str, settings: tuple[str, ...], tables: list[Any]) -> None:
    found = recipe(text, *settings)
    assert found.name == "birds"
    assert [(t.name, t.stage.name, t.values, t.optional) for t in found.tables][-len(tables) :] == tables


WRONG: tuple[tuple[str, str, str], ...] = (
    ("no such key", 'crawl = "x"\n[curate]\nfilter = {}', 'has no key "filter"'),
    ("no such stage", 'crawl = "x"\n[clean]', "there is no stage 'clean'"),
    ("nothing to take", "[curate]", "needs crawl, and no table above it makes any"),
    ("a maker below", '[curate]\n[crawl]\nsource = "x"', "needs crawl, and no table above it makes any"),
    ("a reference below", '[curate]\ncrawl = "crawl"\n[crawl]\nsource = "x"', "makes nothing that is there yet"),
    ("a reference to nothing", 'crawl = "x"\n[curate]\ncrawl = "crwl"', 'no table, file or folder "crwl"'),
    ("a stage that makes no folder", '[generate]\nmodel = "x"', "has no place in a recipe"),
    ("no table", "", "has no table"),
)


@pytest.mark.parametrize(("text", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_found_before_anything_is_made(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe(text)
    assert not Path("runs").exists()


def test_a_whole_recipe() -> None:
    tables = made(recipe(f'crawl = "rows.jsonl"\n{CURATE}{TOKENIZE}'))
    assert list(tables) == ["crawl", "curate", "tokenize"]
    manifests = {manifest.name: manifest for manifest in list_runs(Path("runs"))}
    assert set(manifests) == set(tables.values())
    assert manifests[tables["curate"]].inputs["crawl"]["name"] == tables["crawl"]
    assert manifests[tables["tokenize"]].inputs["corpus"]["name"] == tables["curate"]
    assert manifests[tables["tokenize"]].counts["documents"] == 30
    page = Path("runs/birds.html").read_text()
    assert all(name in page for name in tables.values())


def test_only_what_is_stale_is_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    text = f'crawl = "rows.jsonl"\n{CURATE}{TOKENIZE}'
    first = made(recipe(text))
    capsys.readouterr()
    assert made(recipe(text)) == first
    assert capsys.readouterr().err.count("already made") == 3
    again = made(recipe(text, "tokenize.vocabulary=301"))
    assert capsys.readouterr().err.count("already made") == 2
    assert {name for name in first if first[name] != again[name]} == {"tokenize"}


def test_an_equal_result_makes_nothing_stale(folder: Path) -> None:
    """A corpus whose bytes are the same after a change of its config has the same contents."""
    text = f'crawl = "rows.jsonl"\n{CURATE}{TOKENIZE}'
    first, again = made(recipe(text)), made(recipe(text, "curate.page_megabytes=9.0"))
    assert first["curate"] != again["curate"]
    assert first["tokenize"] == again["tokenize"]


def test_an_input_is_the_newest_of_its_kind_above_or_the_one_that_is_named() -> None:
    text = f'crawl = "rows.jsonl"\n{CURATE}[strict]\nstage = "curate"\nseed = 1\nfilters = {{}}\ndedup = {{}}\n'
    newest = made(recipe(f"{text}{TOKENIZE}"))
    assert read_manifest(Path("runs") / newest["tokenize"]).inputs["corpus"]["name"] == newest["strict"]
    named = made(recipe(f'{text}{TOKENIZE}corpus = "curate"\n'))
    assert read_manifest(Path("runs") / named["tokenize"]).inputs["corpus"]["name"] == named["curate"]
    path = made(recipe(f'[tokenize]\nvocabulary = 300\ncorpus = "runs/{named["curate"]}"'))
    assert read_manifest(Path("runs") / path["tokenize"]).inputs["corpus"]["name"] == named["curate"]


def test_an_optional_table_without_input_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    strict = '[strict]\nstage = "curate"\nfilters = { gopher_length = { min_words = 1000 } }\n'
    text = f'crawl = "rows.jsonl"\n{CURATE}{strict}'
    tables = made(recipe(f"{text}optional = true\n{TOKENIZE}"))
    assert list(tables) == ["crawl", "curate", "tokenize"]
    assert "strict: left out, it is optional" in capsys.readouterr().err
    assert read_manifest(Path("runs") / tables["tokenize"]).inputs["corpus"]["name"] == tables["curate"]
    with pytest.raises(EmptyInput, match="nothing is left"):
        made(recipe(text))


def test_a_run_is_found_by_folder_name_start_or_table(folder: Path) -> None:
    tables = made(recipe(f'crawl = "rows.jsonl"\n{CURATE}'))
    runs = folder / "runs"
    for name in (tables["curate"], "curate", tables["curate"][:9], "birds/curate"):
        assert find_run(runs, Path(name)) == runs / tables["curate"]
    assert find_run(runs, runs / tables["crawl"]) == runs / tables["crawl"]
    with pytest.raises(UsageError, match="several runs start with c"):
        find_run(runs, Path("c"))
    for name in ("tokenize", "birds/tokenize", "other/curate"):
        with pytest.raises(UsageError, match="no run of that name"):
            find_run(runs, Path(name))


def test_inputs_given_by_name_are_found(folder: Path) -> None:
    tables = made(recipe(f'crawl = "rows.jsonl"\n{CURATE}'))
    config = find_inputs(load("tokenize"), Tokenize(corpus=Path("birds/curate")), Path("runs"))
    assert config.corpus == Path("runs") / tables["curate"]


def test_a_corpus_made_elsewhere_is_an_input(folder: Path) -> None:
    (folder / "corpus").mkdir()
    documents = [Document(f"{n:02}", f"A {BIRDS[n % 6]} flew over house {n}.", "notes") for n in range(30)]
    write_documents(folder / "corpus" / "documents.parquet", documents)
    tables = made(recipe(f'{TOKENIZE}corpus = "corpus"'))
    manifest = read_manifest(Path("runs") / tables["tokenize"])
    assert manifest.inputs["corpus"]["name"] == "corpus"
    again = execute(
        load("tokenize"), Tokenize(corpus=folder / "corpus", vocabulary=300, held_out=0.2), runs=Path("elsewhere")
    )
    assert again.name == tables["tokenize"]


@pytest.mark.parametrize("name", ["/no/such/model", "a/b/c", "no-such-run", "demo/nothing"])
def test_a_run_that_is_not_there_is_said_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file or folder"):
        find_run(tmp_path, Path(name))


def test_a_list_where_a_table_is_wanted_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[evaluate]\nmodels = ["pretrain", "sft"]\n')
    with pytest.raises(UsageError, match='key "models" is'):
        read_recipe(path)


RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))
BROUGHT = ("model", "questions", "stories", "text")
"""Folders that recipes name and people bring along."""


@pytest.mark.parametrize("path", RECIPES, ids=[path.name for path in RECIPES])
def test_every_recipe_that_comes_along_can_be_read(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in BROUGHT:
        Path(name).mkdir()
    for name in ("questions.jsonl", "test.jsonl"):
        Path(name).touch()
    assert read_recipe(path).tables


def test_a_table_may_be_a_folder_made_elsewhere(folder: Path) -> None:
    (folder / "corpus").mkdir()
    documents = [Document(f"{n:02}", f"A {BIRDS[n % 6]} flew over house {n}.", "notes") for n in range(30)]
    write_documents(folder / "corpus" / "documents.parquet", documents)
    text = f'{TOKENIZE}corpus = "mine"'
    with pytest.raises(UsageError, match='there is no table, file or folder "mine"'):
        recipe(text)
    tables = made(recipe(text, "mine=corpus"))
    assert list(tables) == ["tokenize"]
    assert read_manifest(Path("runs") / tables["tokenize"]).inputs["corpus"]["name"] == "corpus"
