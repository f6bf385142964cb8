"""Train the trees of `hornbook.text.pages.content` on the marked pages of HORNBOOK_DATA, or say how good they are.

    python bench/train_content.py --check     F1 on the article benchmark, each page by trees that saw none of its site
    python bench/train_content.py             write hornbook/text/pages/content_trees.py

Needs `pip install lightgbm`. A block is main text where more than half of its words are in a page's gold, in order; of
trafilatura's pages only blocks that hold a snippet count. Pages weigh the same, those without a whole gold less.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import urlsplit

import lightgbm
import numpy as np
from extract import scores
from inputs import rows
from measure import ROOT

from hornbook.text.pages import content
from hornbook.text.pages.block_numbers import NAMES, describe
from hornbook.text.pages.extract import walked
from hornbook.text.pages.walk import Walked

FOLDS, TREES, WORD = 6, 200, re.compile(r"\w+")
SETS = {"aeb": 1.0, "readability": 0.5, "trafilatura": 0.25, "webmainbench_sample": 0.3}
LESS = "dens in_nav in_footer in_aside in_header in_button in_select in_form hidden repN links dup R30_up R50_up R80_up"
MORE = "P0_share P1_share P2_share near_content near_article in_article any_content"
OPTIONS = {"objective": "binary", "num_leaves": 4, "learning_rate": 0.1, "feature_fraction": 0.3, "max_bin": 63}
OPTIONS |= {"bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 5e-3, "min_data_in_leaf": 30, "seed": 1}
OPTIONS |= {"min_sum_hessian_in_leaf": 1e-3, "verbose": -1, "num_threads": 1, "deterministic": True}
OPTIONS["force_row_wise"] = True


def examples() -> list[dict[str, Any]]:
    """Pages with the numbers of their blocks `x`, whether these are main text `y`, and their weights `w`."""
    return [_example(name, row) for name in SETS for row in rows(f"extraction/{name}") if "html" in row]


def _example(name: str, row: dict[str, Any]) -> dict[str, Any]:
    page = walked(row["html"].encode("utf-8", "replace"))
    x = np.zeros((len(page.blocks), len(NAMES)), np.float32)
    if len(x):
        describe(page.elements, page.blocks, x)
    texts = _texts(page)
    gold = row.get("gold") or row.get("gold_markdown") or "\n".join(_texts(walked(row.get("gold_html", "").encode())))
    y, w = _by_snippets(texts, row) if name == "trafilatura" else _by_gold(texts, gold)
    site = ".".join((urlsplit(row.get("url") or "").hostname or row["id"]).split(".")[-2:])
    return {"x": x, "y": y, "w": w * SETS[name], "site": site, "page": page, "gold": gold, "set": name}


def _texts(page: Walked) -> list[str]:
    raw = page.text.tobytes()
    return [raw[block["start"] : block["end"]].decode("utf-8", "replace") for block in page.blocks]


def _by_gold(texts: list[str], gold: str) -> tuple[Any, Any]:
    words = [WORD.findall(text) for text in texts]
    owner = [at for at, found in enumerate(words) for _ in found]
    size, hits = np.array([len(found) for found in words], float), np.zeros(len(texts))
    matcher = SequenceMatcher(None, [word for found in words for word in found], WORD.findall(gold), autojunk=False)
    for start, _, length in matcher.get_matching_blocks():
        for at in owner[start : start + length]:
            hits[at] += length >= 3 or length == size[at]
    y = hits > size / 2
    return y, np.minimum(np.maximum(size, 0.3) / max(size[y].sum(), 50), 0.5)


def _by_snippets(texts: list[str], row: dict[str, Any]) -> tuple[Any, Any]:
    plain, y = [" ".join(text.split()) for text in texts], np.full(len(texts), -1)
    for value, key in enumerate(("absent", "present")):
        for snippet in (" ".join(snippet.split()) for snippet in row[key]):
            at = [place for place, text in enumerate(plain) if snippet in text]
            y[[place for place in at if y[place] < 0 and (len(at) == 1 or not value)]] = value
    return y == 1, (y >= 0) / max((y >= 0).sum(), 1)


def train(pages: list[dict[str, Any]]) -> Any:
    """Boosted trees; what speaks against main text by what we know of pages may not speak for it."""
    x, y, w = (np.concatenate([page[key] for page in pages]) for key in "xyw")
    used = w > 0
    signs = [1 if name in MORE.split() else -1 if _less(name) else 0 for name in NAMES]
    data = lightgbm.Dataset(x[used], y[used].astype(int), weight=w[used] * used.sum() / w.sum())
    return lightgbm.train(OPTIONS | {"monotone_constraints": signs}, data, TREES)


def _less(name: str) -> bool:
    groups = r"(any|near)_(comment|share|relat|recommen|newslet|cookie|advert|foot|nav|widget)|any_(search|donate)"
    return name in LESS.split() or bool(re.fullmatch(rf"{groups}|P\d_dens", name))


def lines(model: Any) -> str:
    """The trees in the form that `content.planted` reads."""
    return "\n".join(_line(tree["tree_structure"]) for tree in model.dump_model()["tree_info"])


def _line(node: dict[str, Any]) -> str:
    if "leaf_value" in node:
        return f"={node['leaf_value']:.4g}"
    name, branches = NAMES[node["split_feature"]], (node["left_child"], node["right_child"])
    return f"{name} {node['threshold']:.6g} {' '.join(map(_line, branches))}"


def check(pages: list[dict[str, Any]]) -> dict[str, float]:
    """The scores of pages by trees that saw none of their site."""
    said = []
    for fold in range(FOLDS):
        unseen = [page for page in pages if hashlib.md5(page["site"].encode()).digest()[0] % FOLDS == fold]
        planted = content.planted(lines(train([page for page in pages if all(page is not one for one in unseen)])))
        content._TREES = (*planted, content.most_to_come(*planted))
        said += [(page["gold"], content.main_text(page["page"])) for page in unseen if page["set"] == "aeb"]
    return scores(said)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="cross-validate, write nothing")
    if parser.parse_args().check:
        print(check(examples()))
    else:
        told = '"""The trees of `content`, in the form that `content.planted` reads; by bench/train_content.py."""'
        trees = f'{told}\n\nTREES = """\n{lines(train(examples()))}\n"""\n'
        (ROOT / "hornbook" / "text" / "pages" / "content_trees.py").write_text(trees)
