"""What a site says in files of its own, as of the crawl: robots.txt, /ai.txt and /.well-known/tdmrep.json.

Sources: robots.txt, RFC 9309; its `Content-Usage` rules, draft-ietf-aipref-attach and draft-ietf-aipref-vocab; its
`Content-Signal: ai-train=no`, Cloudflare 2025; ai.txt, Spawning 2023; tdmrep.json, the TDM Reservation Protocol (W3C
community report, 2024), whose first rule that matches counts.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from protego import Protego

from hornbook.errors import EmptyInput, InputError
from hornbook.text.consent import forbids_training

LARGEST = 500 * 2**10
"""Bytes of a robots.txt that count (RFC 9309, 2.5)."""

ROBOTS, AI_TXT, TDM_FILE = "/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"

AGENTS = {
    "AI2Bot": "Ai2",
    "Amazonbot": "Amazon",
    "anthropic-ai": "Anthropic",
    "Applebot-Extended": "Apple",
    "Bytespider": "ByteDance",
    "CCBot": "Common Crawl",
    "ClaudeBot": "Anthropic",
    "cohere-ai": "Cohere",
    "cohere-training-data-crawler": "Cohere",
    "DeepSeekBot": "DeepSeek",
    "Diffbot": "Diffbot",
    "FacebookBot": "Meta",
    "Google-Extended": "Google",
    "GPTBot": "OpenAI",
    "ImagesiftBot": "ImageSift",
    "Kangaroo Bot": "Kangaroo LLM",
    "Meta-ExternalAgent": "Meta",
    "omgili": "Webz.io",
    "PanguBot": "Huawei",
    "PetalBot": "Huawei",
    "Timpibot": "Timpi",
    "Webzio-Extended": "Webz.io",
}
"""Well-known crawlers that gather text to train on, and who runs them. `read_agents` takes a newer list."""


def read_agents(path: Path) -> tuple[str, ...]:
    """Names of user agents: a line each, a robots.txt that names them, or the robots.json of ai.robots.txt.

    Raises:
        InputError: the file cannot be read.
        EmptyInput: it names no user agent.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        listed = _agents_of(text, path.suffix.lower() == ".json")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        hint = "a name a line, or an object whose keys are names"
        raise InputError(f"user agents {path}: {error}", hint=hint) from error
    names = tuple(sorted({name for name in listed if name not in ("", "*")}, key=str.lower))
    if not names:
        raise EmptyInput(f"user agents {path} names none", hint="one name a line, such as GPTBot")
    return names


def _agents_of(text: str, is_json: bool) -> list[str]:
    if is_json:
        names = orjson.loads(text)
        if not isinstance(names, dict | list) or not all(isinstance(name, str) for name in names):
            raise ValueError("neither an object nor a list of names")
        return [name.strip() for name in names]
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    named = [re.fullmatch(r"(?i)user-agent\s*:\s*(.*)", line) for line in lines]
    return [match[1].strip() for match in named if match] if any(named) else lines


# -- what was found in the archive ------------------------------------------------------------------------------------


@dataclass(slots=True)
class RobotsIndex:
    """The files of sites that an archive holds: of each the last that was added.

    They hold for a host and port, whatever the scheme: an archive seldom has both, and sites serve one file for both.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def add(self, url: str, body: bytes) -> bool:
        """Keep the body of a response (200) if its URL is that of such a file; whether it is."""
        host, path = _place(url)
        if not host or path not in (ROBOTS, AI_TXT, TDM_FILE):
            return False
        self.files[host, path] = body[:LARGEST]
        return True

    def disallowed(self, url: str, agents: Iterable[str]) -> list[str]:
        """The user agents that may not fetch a URL."""
        host, _ = _place(url)
        body = self.files.get((host, ROBOTS))
        return _parsed(body).disallowed(url, tuple(agents)) if body else []

    def usage(self, url: str, agents: Iterable[str]) -> str:
        """The preference that forbids training on a URL, as robots.txt states it for one of the agents, or ""."""
        host, _ = _place(url)
        body = self.files.get((host, ROBOTS))
        return _parsed(body).usage(url, tuple(agents)) if body else ""

    def ai_txt(self, url: str) -> bool:
        """Whether the site's ai.txt keeps a URL from being learned from."""
        host, _ = _place(url)
        body = self.files.get((host, AI_TXT))
        return bool(body) and bool(_parsed(body).disallowed(url, ("*",)))

    def tdm_file(self, url: str) -> str:
        """What the site's tdmrep.json says of a URL: "1" reserved, "0" not, "" nothing."""
        host, _ = _place(url)
        rules = _tdm_rules(self.files.get((host, TDM_FILE), b""))
        return next((value for path, value in rules if path.covers(url)), "")


def robots_opt_out(url: str, robots: RobotsIndex, agents: Iterable[str] = tuple(AGENTS)) -> str | None:
    """Why robots.txt or ai.txt of its site keep a page from being learned from, or None."""
    agents = tuple(agents)
    if found := robots.disallowed(url, agents):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return f"robots_opt_out: robots.txt disallows {found[0]}{more}"
    if stated := robots.usage(url, agents):
        return f"robots_opt_out: robots.txt says {stated}"
    return "robots_opt_out: ai.txt disallows it" if robots.ai_txt(url) else None


def _place(url: str) -> tuple[str, str]:
    """Host, with a port that is not the usual one, and path with its query; ("", "") for what is no URL."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "", ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host if port in (None, 80, 443) else f"{host}:{port}", path


# -- robots.txt -----------------------------------------------------------------------------------------------------


class _Robots:
    """A robots.txt as its groups: lines of rules, and which groups a product token names.

    protego is asked about one agent's groups at a time: all at once it takes the product of agents and rules, and it
    takes a group for every agent that begins like it, `Web Downloader` for Webzio.
    """

    def __init__(self, text: str) -> None:
        self.groups, self.named = _groups(text)
        self.ready: dict[tuple[int, ...], _Rules] = {}
        self.meant: dict[tuple[str, ...], list[tuple[int, ...]]] = {}

    def disallowed(self, url: str, agents: tuple[str, ...]) -> list[str]:
        meant = self._meant(agents)
        verdict = {groups: self._rules(groups).protego.can_fetch(url, "*") for groups in dict.fromkeys(meant)}
        return [agent for agent, groups in zip(agents, meant, strict=True) if not verdict[groups]]

    def usage(self, url: str, agents: tuple[str, ...]) -> str:
        """The first preference against training among those that the agents' groups state with the longest path."""
        stated = (self._rules(groups).usages for groups in dict.fromkeys(self._meant(agents)))
        return next((said for rules in stated for said in _longest(rules, url) if forbids_training(said)), "")

    def _meant(self, agents: tuple[str, ...]) -> list[tuple[int, ...]]:
        """The groups that are meant for each agent: those that name it, else those for all."""
        if agents not in self.meant:
            others = self.named.get("*", ())
            self.meant[agents] = [self.named.get(product(agent), others) for agent in agents]
        return self.meant[agents]

    def _rules(self, groups: tuple[int, ...]) -> _Rules:
        if groups not in self.ready:
            self.ready[groups] = _Rules([line for group in groups for line in self.groups[group]])
        return self.ready[groups]


class _Rules:
    """What holds for one agent: paths, and preferences about use."""

    def __init__(self, lines: list[str]) -> None:
        self.protego = Protego.parse("\n".join(["User-agent: *", *lines]))
        stated = filter(None, map(USAGE.match, lines))
        self.usages = [(_Path(match[1] or "/"), match[2].strip()) for match in stated]


@lru_cache(maxsize=4096)
def product(agent: str) -> str:
    """The product token of a user agent, in lower case: of `GPTBot/1.2 (OpenAI)` it is `gptbot` (RFC 9309, 2.2.1)."""
    return re.split(r"[\s/;(]", agent.strip().lower(), maxsplit=1)[0]


def _longest(rules: Iterable[tuple[_Path, str]], url: str) -> list[str]:
    """What the rules with the longest path say that matches."""
    matching = [(rule.length, said) for rule, said in rules if rule.covers(url)]
    longest = max((length for length, _ in matching), default=0)
    return [said for length, said in matching if length == longest]


class _Path:
    """A path pattern of RFC 9309, 2.2.3: a prefix in which * stands for anything, and $ at its end for the end."""

    def __init__(self, pattern: str) -> None:
        self.length = len(pattern)
        self.rules = Protego.parse(f"User-agent: *\nDisallow: {' '.join(pattern.split())}")

    def covers(self, url: str) -> bool:
        return not self.rules.can_fetch(url, "*")


@lru_cache(maxsize=256)
def _parsed(body: bytes) -> _Robots:
    return _Robots(_decoded(body))


def _decoded(body: bytes) -> str:
    """UTF-8 with or without a byte order mark, also a cut one, or UTF-16 with one."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", errors="replace")
    for byte in (b"\xef", b"\xbb", b"\xbf"):
        body = body.removeprefix(byte)
    return body.decode("utf-8", errors="replace")


AGENT = re.compile(r"(?i)user[- ]?agent\s*[:\s]\s*(.*)")
RULE = re.compile(r"(?i)(?:dis)?allow\b|[a-z][a-z -]{0,40}:")
USAGE = re.compile(r"(?i)content-(?:usage|signal)\s*:\s*(?:(/\S*)\s)?(.*)")
"""Lines of a robots.txt, with the slips that protego forgives as well: no colon, a space for the dash."""

SITE_WIDE = ("sitemap", "host")
Groups = list[list[str]]


def _groups(text: str) -> tuple[Groups, dict[str, tuple[int, ...]]]:
    """The rules of each group, and by product token the groups that name it (RFC 9309, 2.2.1)."""
    groups, named, naming = Groups(), dict[str, list[int]](), False
    for line in (line.partition("#")[0].strip() for line in text.splitlines()):
        if match := AGENT.match(line):
            if not naming:
                groups.append([])
            named.setdefault(product(match[1]), []).append(len(groups) - 1)
            naming = True
        elif RULE.match(line) and not line.lower().startswith(SITE_WIDE):
            naming = False
            if groups:
                groups[-1].append(line)
    return groups, {name: tuple(dict.fromkeys(places)) for name, places in named.items()}


# -- tdmrep.json ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _tdm_rules(body: bytes) -> tuple[tuple[_Path, str], ...]:
    """Path patterns and values, in their order; none where the file is not what it should be: then it says nothing."""
    try:
        rules = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError:
        return ()
    good = [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []
    return tuple(
        (_Path(str(rule["location"])), str(rule["tdm-reservation"]).strip())
        for rule in good
        if "location" in rule and "tdm-reservation" in rule
    )
