"""The filters that a recipe can name, and a table of them made ready.

A filter gives the reason against a document, which begins with the filter's name, or None. Most ask for `Statistics`,
which are counted once for a batch of documents whatever the number of filters; the others for the document itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hornbook.errors import UsageError
from hornbook.text.abuse import abuse
from hornbook.text.document import Document
from hornbook.text.language import language
from hornbook.text.privacy import personal_data
from hornbook.text.rules.c4 import (
    c4_curly_bracket,
    c4_javascript,
    c4_lorem_ipsum,
    c4_policy,
    c4_sentences,
    c4_terminal_punctuation,
)
from hornbook.text.rules.counts import Statistics
from hornbook.text.rules.fineweb import (
    fineweb_duplicate_lines,
    fineweb_line_punctuation,
    fineweb_new_lines,
    fineweb_short_lines,
)
from hornbook.text.rules.gopher import (
    gopher_alphabetic,
    gopher_bullets,
    gopher_ellipses,
    gopher_length,
    gopher_repeated_lines,
    gopher_repeated_ngrams,
    gopher_repeated_paragraphs,
    gopher_stop_words,
    gopher_symbols,
    gopher_top_ngrams,
    gopher_word_length,
)
from hornbook.text.rules.statistics import statistics

Filter = Callable[[Document], str | None]

FILTERS: tuple[Callable[..., str | None], ...] = (
    language,
    gopher_length,
    gopher_word_length,
    gopher_symbols,
    gopher_bullets,
    gopher_ellipses,
    gopher_alphabetic,
    gopher_stop_words,
    gopher_repeated_lines,
    gopher_repeated_paragraphs,
    gopher_top_ngrams,
    gopher_repeated_ngrams,
    c4_terminal_punctuation,
    c4_sentences,
    c4_lorem_ipsum,
    c4_curly_bracket,
    c4_javascript,
    c4_policy,
    fineweb_line_punctuation,
    fineweb_short_lines,
    fineweb_duplicate_lines,
    fineweb_new_lines,
    abuse,
    personal_data,
)
COUNTED_BY = ("stop_words", "short")
"""Options of filters that say what is counted: `statistics` has the same."""


@dataclass(frozen=True)
class Rule:
    """A filter with its options."""

    check: Callable[[Any], str | None]
    counts: bool
    """Whether it asks for Statistics, not the document."""


class Rules:
    """Filters in their order; called with documents, it gives the first objection to each, or None."""

    def __init__(self, rules: Sequence[Rule], counted_by: Mapping[str, Any]) -> None:
        self.rules = tuple(rules)
        self.counted_by = dict(counted_by)

    def __call__(self, documents: Sequence[Document]) -> list[str | None]:
        """The first objection to each document. Filters see only documents that those before them let pass."""
        reasons: list[str | None] = [None] * len(documents)
        left, counted = list(range(len(documents))), dict[int, Statistics]()
        for rule in self.rules:
            if rule.counts and not counted:
                texts = [documents[at].text for at in left]
                counted = dict(zip(left, statistics(texts, **self.counted_by), strict=True))
            for at in left:
                reasons[at] = rule.check(counted[at] if rule.counts else documents[at])
            left = [at for at in left if reasons[at] is None]
        return reasons

    def one(self, document: Document) -> str | None:
        """The first objection to a document."""
        return self([document])[0]

    def each(self) -> Iterator[Rules]:
        """Each filter by itself."""
        return (Rules([rule], self.counted_by) for rule in self.rules)

    def __iter__(self) -> Iterator[Filter]:
        """Each filter by itself, for one document at a time."""
        return (rules.one for rules in self.each())

    def __len__(self) -> int:
        return len(self.rules)


def chosen(table: Mapping[str, Mapping[str, Any]], *, extra: Sequence[Filter] = ()) -> Rules:
    """The filters that a table names, with its options, in its order, and after them those of `extra`.

    Raises:
        UsageError: no such filter, no such option, or an option of the wrong type.
    """
    known = {function.__name__: function for function in FILTERS}
    rules, counted_by = list[Rule](), dict[str, Any]()
    for name, options in table.items():
        if name not in known:
            raise UsageError(f'there is no filter "{name}"', hint=f"there are: {', '.join(known)}")
        fitting = checked(f"filter {name}", known[name], options)
        counted_by |= {key: value for key, value in fitting.items() if key in COUNTED_BY}
        rules.append(Rule(partial(known[name], **fitting), counts=_asks_for_statistics(known[name])))
    return Rules([*rules, *(Rule(check, counts=False) for check in extra)], counted_by)


def _asks_for_statistics(function: Callable[..., str | None]) -> bool:
    first = next(iter(inspect.signature(function, eval_str=True).parameters.values()))
    return first.annotation is Statistics


def checked(name: str, function: Callable[..., object], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a function's keyword-only parameters take them.

    Raises:
        UsageError: it has no such option, or the value is of another type than the default.
    """
    signature = inspect.signature(function).parameters.items()
    parameters = {key: one for key, one in signature if one.kind is one.KEYWORD_ONLY}
    fitting = {}
    for key, value in options.items():
        if key not in parameters:
            raise UsageError(f'{name} has no option "{key}"', hint=f"its options: {', '.join(parameters) or 'none'}")
        default = parameters[key].default
        fitting[key] = _fit(value, default)
        is_table = isinstance(value, Mapping) and "Mapping" in str(parameters[key].annotation)
        if type(fitting[key]) is not type(default) and not is_table:
            raise UsageError(f"{name}: {key} is {value!r}", hint=f"it should be like {default!r}")
    return fitting


def _fit(value: object, default: object) -> object:
    """A value from a recipe, or a text from the command line, as the default's type where that is possible."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, bool) or isinstance(value, bool):
        return {"true": True, "false": False}.get(str(value).lower(), value) if isinstance(default, bool) else value
    if isinstance(default, int | float) and isinstance(value, int | float | str):
        try:
            return type(default)(value) if isinstance(value, str) or isinstance(default, float) else value
        except ValueError:
            return value
    return value
