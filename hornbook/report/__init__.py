"""The page people look at first: one run, or a whole recipe, as one HTML file that needs nothing else.

Everything shown comes from the run folders. Crawled text is hostile by nature, so each text passes through jinja's
escaping and loses control and bidirectional characters; the page has no script, and its own policy forbids loading
anything. A section without data is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from hornbook.report import charts, data, scores, wording
from hornbook.report.adaptation import adaptation
from hornbook.report.folder import Run, load
from hornbook.report.ladder import ladder
from hornbook.report.lineage import lineage
from hornbook.report.live import load_going
from hornbook.report.plan import decision_drawn, memory_bars
from hornbook.report.planned import compared
from hornbook.report.wording import compact, duration

_HAS_ITS_SECTION = {"before", "after", "models", "labels", "samples", "improvements", "intervals"}
_HAS_ITS_SECTION |= {"outcomes", "speaker", "examples", "table", "removed", "steps"}
_HAS_ITS_SECTION |= {"ladder", "predicted", "cost", "error_of_largest"}
_MADE = {"align": "an aligned", "sft": "an instruction-tuned", "pretrain": "a base"}


def render_run(folder: Path) -> str:
    """The page of one run, made from its folder alone.

    Raises:
        InputError: the folder is no run, or one of its files cannot be read.
    """
    run = load(folder)
    known = {**run.manifest.counts, **run.results}
    figures = {key: value for key, value in known.items() if isinstance(value, int | float)}
    return _page(
        "run.html",
        title=run.name,
        summary=summary(run),
        run=run,
        gains=scores.own_improvements(run),
        figures=figures,
        others={key: value for key, value in run.results.items() if key not in _HAS_ITS_SECTION | figures.keys()},
        **_shared([run]),
    )


def render_recipe(
    name: str, runs: Mapping[str, Path], *, planned: Mapping[str, Mapping[str, float]] | None = None
) -> str:
    """The page of a recipe, to be written beside the run folders, as its links expect.

    Args:
        runs: each table of the recipe, in order, with the run folder made from it.
        planned: of some tables what was said before, by quantity.

    Raises:
        InputError: a folder is no run, or one of its files cannot be read.
    """
    loaded = [load(folder, table=table, order=list(runs)) for table, folder in runs.items()]
    gains = scores.improvements(loaded)
    return _page(
        "recipe.html",
        title=name,
        headline=headline(loaded),
        verdict=scores.verdict(gains),
        gains=gains,
        runs=loaded,
        planned={run.table: compared(run, planned[run.table]) for run in loaded if planned and run.table in planned},
        corpora=[run for run in loaded if run.card],
        trained=[run for run in loaded if any("loss" in row for row in run.metrics)],
        judged=[run for run in loaded if "models" in run.results][-1:],
        adapted=[figure for figure in [adaptation(loaded)] if figure is not None],
        facts=data.facts(loaded),
        **_shared(loaded),
    )


def render_live(folder: Path, *, refresh: int | None) -> str:
    """The page of a run that is being made in `folder`, loaded again by the browser every `refresh` seconds."""
    run = load_going(folder)
    return _page("live.html", title=run.name, run=run, refresh=refresh, versions={})


def render_plan(plan: Mapping[str, Any]) -> str:
    """The page of a plan, as `planning.told.as_json` has it."""
    return _page("plan.html", title="plan", plan=plan, versions={})


def render_conversations(shown: Any) -> str:
    """The page of conversations as tokens, of which those that are trained on are marked (`training.showing.Shown`)."""
    return _page("conversations.html", title=f"Tokens of {shown.name}", shown=shown, versions={})


def _shared(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "machine": machine(runs),
        "nodes": lineage(runs),
        "tokens": data.tokens_by_source(runs),
        "outcomes": data.outcomes(runs),
        "rows_made": data.rows_made(runs),
        "versions": {name: version for run in runs for name, version in run.manifest.versions.items()},
    }


def _page(template: str, **view: Any) -> str:
    return wording.visible(_environment().get_template(template).render(**view))


@cache
def _environment() -> Environment:
    loader = PackageLoader("hornbook")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    written = ("compact", "count", "size", "duration", "score", "name_of", "metric_of")
    environment.filters |= {name: getattr(wording, name) for name in written}
    environment.filters |= {"change": scores.change, "gauge": scores.gauge, "matrix": scores.matrix}
    environment.filters |= {"ladder": ladder, "curves": charts.curves}
    environment.filters |= {"memory_bars": memory_bars, "decision_drawn": decision_drawn}
    environment.filters |= {"numbers": charts.numbers, "data_card": data.data_card}
    return environment


def headline(runs: Sequence[Run]) -> str:
    """One sentence: from how much, to what, in what time."""
    return f"From {_start(runs)} to {_end(runs)} in {duration(sum(run.seconds for run in runs))}."


def _start(runs: Sequence[Run]) -> str:
    first = next((run for run in runs if run.amount), None)
    if first is None:
        return "text"
    return f"{first.amount} crawled" if first.amount.endswith("pages") else first.amount


def _end(runs: Sequence[Run]) -> str:
    """The last model that is aligned, or else the last model, or else the last thing that was made."""
    models = [run for run in runs if run.manifest.makes == "model"]
    if not models:
        return runs[-1].amount or runs[-1].table if runs else "nothing"
    chosen = next((run for run in reversed(models) if run.manifest.stage == "align"), models[-1])
    parameters = chosen.results.get("parameters")
    of = f" of {compact(parameters)} parameters" if parameters else ""
    return f"{_MADE.get(chosen.manifest.stage, 'a')} model{of}"


def summary(run: Run) -> str:
    """What a run made, in a line: `541 documents in 11.8 s`."""
    made = run.amount or run.manifest.makes or run.manifest.stage
    return f"{made[:1].upper()}{made[1:]} in {duration(run.seconds)}" if run.seconds else made


def machine(runs: Sequence[Run]) -> str:
    """Where and when it was made."""
    known = [run.occasion for run in runs if run.occasion]
    places = dict.fromkeys(f"{o['cpu']}, {o['cores']} cores" for o in known if "cpu" in o and "cores" in o)
    began = min((str(o["started"])[:10] for o in known if "started" in o), default="")
    return " · ".join([*places, *([f"begun {began}"] if began else [])])
