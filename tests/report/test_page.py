"""The pages tell the story in order, leave out what is absent, and are the same for the same runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from resiliparse.parse.html import HTMLTree

from hornbook.errors import InputError
from hornbook.report import render_recipe, render_run
from hornbook.report.data import data_card
from hornbook.report.folder import load
from hornbook.report.scores import improvements
from hornbook.text.card import OTHERS
from hornbook.text.card import card as make_card
from hornbook.text.disclosure import disclosure
from hornbook.text.document import Document
from hornbook.text.tally import Tally


def test_same_runs_same_bytes(recipe: dict[str, Path], page: str) -> None:
    assert render_recipe("demo", recipe) == page
    assert render_run(recipe["pretrain"]) == render_run(recipe["pretrain"])


def test_the_story_in_order(page: str) -> None:
    tree: Any = HTMLTree.parse(page)
    headings = [node.text for node in tree.document.query_selector_all("h1, h2")]
    assert headings == [
        "From 612 pages crawled to an aligned model of 3.21\u00a0million parameters in 8\u00a0min 07\u00a0s.",
        "What was made from what",
        "What the text is, and what was left out",
        "What the models were taught with",
        "How the models learnt",
        "What the models say",
        "How the models were measured",
        "Where the time went",
        "To make it again",
    ]
    cards = [" ".join(node.text.split()) for node in tree.document.query_selector_all(".card")]
    assert cards[0] == "pretrain Bits per byte 7.930 → 2.210 ✓ falls by 72.1%"
    assert cards[2].startswith("align Preference accuracy 57.2% → 86.1% ✓ rises by 28.9 points 95% interval")


def test_links_within_the_page_lead_somewhere(page: str) -> None:
    tree: Any = HTMLTree.parse(page)
    document = tree.document
    ids = [node.attrs and node["id"] for node in document.query_selector_all("[id]")]
    assert len(ids) == len(set(ids))
    anchors = [node["href"] for node in document.query_selector_all("a[href]")]
    assert {anchor[1:] for anchor in anchors if anchor.startswith("#")} <= set(ids)


def test_links_to_run_pages(recipe: dict[str, Path], page: str) -> None:
    for folder in recipe.values():
        assert f'href="{folder.name}/report.html"' in page
    assert f'href="../{recipe["pretrain"].name}/report.html"' in render_run(recipe["sft"])


def test_models_come_in_the_order_of_the_recipe(page: str) -> None:
    tree: Any = HTMLTree.parse(page)
    heads = [node.text for node in tree.document.query_selector_all("#scores thead th")]
    assert heads == ["On held-out rows", "untrained", "pretrain", "sft", "align", "adapt"]


def test_words_until_there_are_tokens(recipe: dict[str, Path], page: str) -> None:
    assert '<th scope="col" class="n">Words</th>' in render_run(recipe["curate"])
    assert '<th scope="col" class="n">Tokens</th>' in page
    assert "1,482,331" in page


def test_a_real_card(tmp_path: Path, made_run: Callable[..., Path]) -> None:
    tally = Tally()
    kept = Document("a", "A page about folders.", "site", "http://a.example/x", "2024-01-02", {"language": "en"})
    tally.keep(kept, kind="web pages")
    gone = Document("b", "too short", "site")
    tally.remove(gone, "gopher_length: 2 words, fewer than 50", kind="web pages")
    tally.drop_lines({"a repeated line": 4})
    made = make_card(tally, order=[], clusters={2: 3})
    made["eu_summary"] = disclosure(tally, made, crawlers=["hornbook"], reservations=["opt_out"])
    text = render_run(made_run(tmp_path, "curate", "corpus", files={"card.json": made}, counts={"documents": 1}))
    for shown in ("1 documents kept, 1 removed", "2 words, fewer than 50", "web pages", "a.example", "a repeated line"):
        assert shown in text
    for shown in ("3 clusters of 6 documents", "less than 1 billion tokens", "To be filled by the provider", "2024"):
        assert shown in text


def test_the_card_of_a_page_with_everything(recipe: dict[str, Path]) -> None:
    tree: Any = HTMLTree.parse(render_run(recipe["curate"]))
    titles = [node.text for node in tree.document.query_selector_all("h3")]
    assert titles == [
        "Worth a look",
        "541 documents kept, 77 removed",
        "Fetched or written",
        "Published, as the pages say",
        "Languages",
        "Hosts",
        "Endings of host names",
        "Licences",
        "Personal data masked",
        "Opted out",
        "Evaluation sets",
        "Near duplicates",
        "Copies in each source",
        "Taken out of documents",
        "Lines cut",
        "Malformed",
        "Read",
        "Whom the filters remove",
        "Settings",
    ]
    shown = " ".join(tree.body.text.split())
    for words in ("of at least 1 hosts", "2 are older", "5 to 8 documents", "2.25\u00d7", "only here", "and 10 more"):
        assert words in shown, words


def test_a_table_of_many_sources_folds_the_small_ones(tmp_path: Path, made_run: Callable[..., Path]) -> None:
    rows = [
        {"source": f"source {n}", "type": "web pages", "bytes": 100 - n, "documents": 1, "tokens": 9} for n in range(40)
    ]
    rows.append({"source": OTHERS, "type": "", "bytes": 900, "documents": 50, "tokens": 450})
    text = render_run(made_run(tmp_path, "curate", "corpus", files={"card.json": {"table": rows}}))
    assert "16 more, below" in text
    tokens = {f"source {n}": 7 for n in range(90)}
    made = data_card(load(tmp_path / next(tmp_path.iterdir()).name), tokens)
    assert (made["unit"], made["table"][0]["tokens"], made["table"][-1]["tokens"]) == ("Tokens", 7, 350)


@pytest.mark.parametrize(
    "left_out", ["metrics.jsonl", "log/timings.jsonl", "log/occasion.json", "card.json", "config.toml"]
)
def test_parts_may_be_absent(left_out: str, tmp_path: Path, made_recipe: Callable[..., dict[str, Path]]) -> None:
    runs = made_recipe(tmp_path)
    for folder in runs.values():
        (folder / left_out).unlink(missing_ok=True)
    assert "<h1>" in render_recipe("demo", runs)
    assert all("<h1>" in render_run(folder) for folder in runs.values())


@pytest.mark.parametrize("table", ["crawl", "curate", "tokenize", "instruct", "pretrain", "evaluate"])
def test_a_recipe_of_one_stage(table: str, recipe: dict[str, Path]) -> None:
    assert "<h1>From " in render_recipe(table, {table: recipe[table]})


def test_an_unknown_stage_gets_a_plain_page(tmp_path: Path, made_run: Callable[..., Path]) -> None:
    results = {"found": {"here": 3, "there": {"deep": [1, 2]}}, "note": "x < y", "share": 0.25}
    text = render_run(made_run(tmp_path, "trace", "spans", counts={"spans": 12}, results=results))
    tree: Any = HTMLTree.parse(text)
    for shown in ("Spans in 1.0\u00a0s", "x < y", "Deep"):
        assert shown in tree.body.text


def test_an_empty_recipe() -> None:
    assert "From text to nothing" in render_recipe("empty", {})


def test_a_broken_row_names_its_file_and_line(tmp_path: Path, made_run: Callable[..., Path]) -> None:
    folder = made_run(tmp_path, "sft", "model")
    (folder / "metrics.jsonl").write_text('{"step": 1}\n{"step": \n')
    with pytest.raises(InputError, match=r"metrics\.jsonl line 2"):
        render_run(folder)


def test_what_a_stage_measured_itself_stands_in_for_evaluate(recipe: dict[str, Path]) -> None:
    gains = improvements([load(recipe[table], table=table) for table in ("pretrain", "sft", "align", "adapt")])
    assert [gain.metric for gain in gains][1:] == [
        "answer_log_likelihood",
        "preference_accuracy",
        "bits_per_byte/email",
    ]
    assert all(gain.achieved for gain in gains)
