"""Chat templates from elsewhere, rendered in a process of their own that has little time and little memory.

Run as a program, this file is that process: it imports nothing of ours, is told the template in a line of JSON, and
then answers one line, a conversation, with another. A template is code that came with a model: Jinja's sandbox stops
what it may reach, and the limits here stop how much it may take.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MARKS = ("\ufdd0", "\ufdd1")
"""Unicode noncharacters around what the assistant says; no message may contain them."""
LONGEST_TEMPLATE = 100_000
LONGEST_TEXT = 2_000_000
"""Characters."""
CPU_SECONDS = 1
"""Of one rendering."""
MEMORY = 256 * 2**20
"""Bytes of address space."""

Messages = Sequence[Mapping[str, str]]


class Refused(Exception):
    """What a template does wrong with a conversation."""


class Overrun(Exception):
    """A template takes more than it may have."""


# -- rendering --------------------------------------------------------------------------------------------------------


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`, as in transformers."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        return f"{MARKS[0]}{caller()}{MARKS[1]}"


class Renderer:
    """A template and the names of tokens (`bos_token`, ...) that it may use.

    `limit` is told how many seconds of CPU what follows may take, and 0 when it is done.
    """

    def __init__(
        self, template: str, special: Mapping[str, str], *, limit: Callable[[float], object] = lambda seconds: None
    ) -> None:
        if len(template) > LONGEST_TEMPLATE:
            raise Refused(f"it has {len(template):,} characters, more than {LONGEST_TEMPLATE:,}")
        self._marked = re.search(r"{%-?\s*generation\b", template) is not None
        self._names = {"tools": None, "documents": None, **special}
        self._limit = limit
        with self._guarded():
            self._template = _compiled(template)

    def parts(self, messages: Messages, *, prompt: bool) -> list[str]:
        """The conversation as text in parts: [not learned, learned, not learned, ...].

        `prompt` adds the opening of an answer.

        Raises:
            Refused: the template fails, or leaves out what the assistant was told.
        """
        text = self._render(messages, prompt=prompt)
        for place, message in enumerate(messages):
            if message["role"] != "assistant" and message["content"].strip() not in text:
                raise Refused(f"it leaves out messages[{place}], of role {message['role']}")
        if self._marked:
            return re.split(f"[{''.join(MARKS)}]", text)
        try:
            return self._by_prefixes(messages, text)
        except Refused:
            if prompt:  # of which nothing is learned
                return [text]
            raise

    def _by_prefixes(self, messages: Messages, text: str) -> list[str]:
        """Where a template marks nothing: an answer is what a conversation has more with it than with its opening.

        White space behind its last token is not learned: whoever answers has stopped before.
        """
        parts, done = [], 0
        for place in (place for place, message in enumerate(messages) if message["role"] == "assistant"):
            opening = self._render(messages[:place], prompt=True)
            answered = self._render(messages[: place + 1], prompt=False)
            end = len(answered.rstrip())
            if not (text.startswith(answered) and answered.startswith(opening) and done <= len(opening) < end):
                raise Refused(f"it marks no answer, and writes messages[{place}] otherwise where nothing follows")
            parts += [text[done : len(opening)], text[len(opening) : end]]
            done = end
        return [*parts, text[done:]]

    def _render(self, messages: Messages, *, prompt: bool) -> str:
        text = ""
        said = [dict(message) for message in messages]
        with self._guarded():
            for piece in self._template.generate(messages=said, add_generation_prompt=prompt, **self._names):
                text += piece
                if len(text) > LONGEST_TEXT:
                    raise Refused(f"it makes more than {LONGEST_TEXT:,} characters of a conversation")
        return text

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever goes wrong inside is the template's doing."""
        self._limit(CPU_SECONDS)
        try:
            yield
        except Refused:
            raise
        except MemoryError as error:
            raise Refused(f"it takes more than {MEMORY / 2**20:.0f} MB of memory") from error
        except Exception as error:
            raise Refused(str(error) or type(error).__name__) from error
        finally:
            self._limit(0)


def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    return environment.from_string(template)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


# -- the process ------------------------------------------------------------------------------------------------------


class Process:
    """A `Renderer` in a process of its own."""

    def __init__(self, template: str, special: Mapping[str, str]) -> None:
        # Isolated and with an empty environment: it imports nothing of the user's, and sees no secret.
        command = [sys.executable, "-I", __file__]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, text=True)
        weakref.finalize(self, _end, self._child)
        self._ask({"template": template, "special": dict(special)})

    def parts(self, messages: Messages, *, prompt: bool) -> list[str]:
        """See `Renderer.parts`.

        Raises:
            Overrun: it took too long, and the process is no more.
        """
        return self._ask({"messages": [dict(message) for message in messages], "prompt": prompt})

    def _ask(self, question: Mapping[str, Any]) -> list[str]:
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            slow = self._child.wait() == -signal.SIGPROF
            raise Overrun(f"it takes more than {CPU_SECONDS} s" if slow else "the process that renders it has ended")
        told: dict[str, Any] = json.loads(answer)
        if "refused" in told:
            raise Refused(told["refused"])
        parts: list[str] = told["parts"]
        return parts


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        assert stream is not None
        with suppress(BrokenPipeError):
            stream.close()


def _serve() -> None:
    """Answer the lines of stdin until there are no more: the first is the template, the others are conversations."""
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (most, most))
    # A signal that nothing handles ends the process even inside one long computation.
    limit = partial(signal.setitimer, signal.ITIMER_PROF)
    renderer: Renderer | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if renderer is None:
                renderer, parts = Renderer(**question, limit=limit), list[str]()
            else:
                parts = renderer.parts(**question)
            answer: dict[str, Any] = {"parts": parts}
        except Refused as error:
            answer = {"refused": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
