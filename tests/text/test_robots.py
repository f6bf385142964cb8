from __future__ import annotations

import base64
import gzip
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import EmptyInput, InputError
from hornbook.text.robots import AGENTS, LARGEST, RobotsIndex, product, read_agents, robots_opt_out

DATA = Path(os.environ.get("HORNBOOK_DATA") or Path(__file__).parents[3] / "shared" / "data")


def index(path: str, body: str | bytes) -> RobotsIndex:
    made = RobotsIndex()
    assert made.add(f"https://example.org{path}", body if isinstance(body, bytes) else body.encode())
    return made


@pytest.mark.parametrize(
    ("robots", "agents", "disallowed"),
    [
        ("User-agent: GPTBot\nDisallow: /", ["GPTBot", "CCBot"], ["GPTBot"]),
        ("User-agent: *\nDisallow: /", ["GPTBot", "CCBot"], ["GPTBot", "CCBot"]),
        ("User-agent: *\nDisallow: /\n\nUser-agent: CCBot\nAllow: /", ["GPTBot", "CCBot"], ["GPTBot"]),
        ("User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /a", ["GPTBot", "CCBot"], ["GPTBot", "CCBot"]),
        ("User-agent: GPTBot/1.2 (OpenAI)\nDisallow: /", ["gptbot"], ["gptbot"]),
        ("user-agent gptbot\ndisallow /", ["GPTBot"], ["GPTBot"]),
        ("User-agent: Web Downloader\nDisallow: /", ["Webzio-Extended"], []),
        ("User-agent: GPTBot\nDisallow: /b", ["GPTBot"], []),
        ("User-agent: GPTBot\nDisallow: /*.html$", ["GPTBot"], ["GPTBot"]),
        ("User-agent: GPTBot\nDisallow: /\nAllow: /a/", ["GPTBot"], []),
        ("User-agent: GPTBot\nDisallow:", ["GPTBot"], []),
        ("<html>not found</html>", ["GPTBot"], []),
        ("", ["GPTBot"], []),
    ],
)
def test_robots_txt_says_who_may_not_fetch(robots: str, agents: list[str], disallowed: list[str]) -> None:
    found = index("/robots.txt", robots)
    assert found.disallowed("https://example.org/a/page.html", agents) == disallowed
    assert found.disallowed("https://other.example/a/page.html", agents) == []


def test_byte_order_marks_and_encodings() -> None:
    robots = "User-agent: GPTBot\nDisallow: /\n"
    for body in (b"\xef\xbb\xbf" + robots.encode(), b"\xef" + robots.encode(), robots.encode("utf-16")):
        assert index("/robots.txt", body).disallowed("https://example.org/", ["GPTBot"]) == ["GPTBot"]


def test_only_so_many_bytes_count() -> None:
    body = b"# " + b"x" * LARGEST + b"\nUser-agent: *\nDisallow: /\n"
    assert index("/robots.txt", body).disallowed("https://example.org/", ["GPTBot"]) == []


def test_files_of_sites_are_told_from_pages() -> None:
    robots = RobotsIndex()
    assert robots.add("http://example.org:80/robots.txt", b"User-agent: *\nDisallow: /")
    assert not robots.add("http://example.org/a/robots.txt", b"")
    assert not robots.add("http://example.org/robots.txt?x", b"")
    assert not robots.add("http://[", b"")
    assert robots.disallowed("https://EXAMPLE.org/page", ["GPTBot"]) == ["GPTBot"]
    assert robots.disallowed("https://example.org:8080/page", ["GPTBot"]) == []


def test_the_reason_names_the_agents() -> None:
    robots = index("/robots.txt", "User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /private/")
    reason = robots_opt_out("https://example.org/private/a", robots)
    assert reason == "robots_opt_out: robots.txt disallows CCBot and 1 more"
    assert robots_opt_out("https://example.org/private/a", robots, ["ClaudeBot"]) is None
    assert robots_opt_out("https://example.org/public", robots) is None


@pytest.mark.parametrize(
    ("robots", "path", "said"),
    [
        ("User-agent: *\nContent-Usage: train-ai=n", "/a", "train-ai=n"),
        ("User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /ok/ train-ai=y", "/ok/a", ""),
        ("User-agent: *\nContent-Usage: train-ai=y\nContent-Usage: /no/ train-ai=n", "/no/a", "train-ai=n"),
        ("User-agent: *\nContent-Usage: search=n", "/a", ""),
        ("User-agent: *\nContent-Usage: train-ai=n\n\nUser-agent: GPTBot\nContent-Usage: train-ai=y", "/a", ""),
        ("User-Agent: *\nContent-Signal: search=yes,ai-train=no\nAllow: /", "/a", "search=yes,ai-train=no"),
        ("Content-Usage: train-ai=n", "/a", ""),
    ],
)
def test_preferences_in_robots_txt(robots: str, path: str, said: str) -> None:
    found = index("/robots.txt", robots)
    assert found.usage(f"https://example.org{path}", ["GPTBot"]) == said
    reason = f"robots_opt_out: robots.txt says {said}" if said else None
    assert robots_opt_out(f"https://example.org{path}", found, ["GPTBot"]) == reason


def test_ai_txt() -> None:
    robots = index("/ai.txt", "User-Agent: *\nDisallow: /novels/\nDisallow: *.txt\n")
    assert robots_opt_out("https://example.org/novels/1", robots) == "robots_opt_out: ai.txt disallows it"
    assert robots_opt_out("https://example.org/a/b.txt", robots) == "robots_opt_out: ai.txt disallows it"
    assert robots_opt_out("https://example.org/news", robots) is None


def test_tdmrep_json_the_first_rule_that_matches_counts() -> None:
    rules = [
        {"location": "/b/images/*.jpg", "tdm-reservation": 0},
        {"location": "/b/", "tdm-reservation": 1, "tdm-policy": "https://example.org/policy"},
        {"location": "/c/$", "tdm-reservation": "1"},
        {"no": "rule"},
        "no rule",
    ]
    robots = index("/.well-known/tdmrep.json", json.dumps(rules))
    said = {"/a": "", "/b/x": "1", "/b/images/y.jpg": "0", "/c/": "1", "/c/d": ""}
    assert {path: robots.tdm_file(f"https://example.org{path}") for path in said} == said


@given(st.binary())
def test_any_bytes_are_taken(body: bytes) -> None:
    for path in ("/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"):
        robots = index(path, body)
        robots_opt_out("https://example.org/a", robots)
        robots.tdm_file("https://example.org/a")


@given(st.text())
def test_any_url_can_be_asked_for(url: str) -> None:
    robots = index("/robots.txt", "User-agent: *\nDisallow: /\nContent-Usage: /a train-ai=n")
    robots_opt_out(url, robots)
    robots.tdm_file(url)


def test_lists_of_agents_are_read(tmp_path: Path) -> None:
    path = tmp_path / "agents.txt"
    path.write_text("# mine\nGPTBot\nCCBot\n\n")
    assert read_agents(path) == ("CCBot", "GPTBot")
    path.write_text("User-agent: GPTBot\nuser-agent: *\nDisallow: /\n")
    assert read_agents(path) == ("GPTBot",)
    (tmp_path / "robots.json").write_text('{"GPTBot": {"operator": "OpenAI"}, "CCBot": {}}')
    assert read_agents(tmp_path / "robots.json") == ("CCBot", "GPTBot")


BAD = [("a.json", b"{"), ("a.json", b"[1]"), ("a.txt", b"\xff"), ("absent", b"")]


@pytest.mark.parametrize(("name", "content"), BAD)
def test_a_bad_list_of_agents_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"user agents {tmp_path / name}: ")):
        read_agents(tmp_path / name)


def test_an_empty_list_of_agents_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# none\n")
    with pytest.raises(EmptyInput, match="names none"):
        read_agents(tmp_path / "a.txt")


def test_product_tokens() -> None:
    assert product("GPTBot/1.2; +https://example.org") == "gptbot"
    assert len({product(agent) for agent in AGENTS}) == len(AGENTS)


@pytest.mark.skipif(not (DATA / "consent").is_dir(), reason="no cases of the specification at HORNBOOK_DATA")
def test_the_cases_of_the_specification() -> None:
    """What is answered otherwise: robots.txt itself may always be fetched, a URL is taken as percent-encoded, a name
    with a digit or an asterisk is taken as a whole or without it, and an agent is known by the first word of its name.
    """
    right = list[bool]()
    with gzip.open(DATA / "consent" / "robots_spec_tests.jsonl.gz", "rt", encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            robots = RobotsIndex()
            body = base64.b64decode(row["robots_b64"]) if "robots_b64" in row else row["robots"].encode()
            robots.add("/".join(row["url"].split("/")[:3]) + "/robots.txt", body)
            right.append(bool(robots.disallowed(row["url"], [row["agent"]])) is not row["allowed"])
    assert sum(right) >= 0.95 * len(right)


@pytest.mark.skipif(not (DATA / "consent").is_dir(), reason="no odd robots.txt at HORNBOOK_DATA")
def test_odd_files_are_read() -> None:
    for path in sorted((DATA / "consent" / "robots_odd").iterdir()):
        robots = index("/robots.txt", path.read_bytes())
        robots_opt_out("https://example.org/page", robots)
    boms = sorted((DATA / "consent" / "robots_odd").glob("*bom*"))
    files = [index("/robots.txt", path.read_bytes()) for path in boms]
    assert len({str(robots.disallowed("https://example.org/", AGENTS)) for robots in files}) == 1
