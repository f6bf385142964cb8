"""A small web site of documentation, made up on the spot and served on loopback: a real server for the crawler."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

VERBS = ("open", "close", "count", "paint", "carry", "fold", "weigh", "sort", "wash", "plant", "mend", "bake")
THINGS = ("basket", "ladder", "window", "garden", "kettle", "lantern", "blanket", "orchard", "bucket", "saddle")
REST = (
    "before the rain begins and the paths turn to mud",
    "so that nobody has to look for it in the morning",
    "with both hands and a little patience",
    "as the old gardener showed us many years ago",
    "and write the number into the long green book",
    "unless the wind is strong enough to tear it away",
    "because the children need it when they come home",
    "until every one of them has found its place",
)


def pages(count: int = 48) -> dict[str, str]:
    """Path -> HTML. A quarter of the pages are of another subject, under /domain/."""
    names = [f"/domain/tide{n}.html" if n % 4 == 0 else f"/general/house{n}.html" for n in range(count)]
    index = "".join(f'<li><a href="{name}">{name}</a></li>' for name in names)
    made = {name: _page(name, number) for number, name in enumerate(names)}
    return {"/": f"<html><title>Index</title><body><h1>Index</h1><ul>{index}</ul></body></html>", **made}


def _page(name: str, number: int) -> str:
    dice = random.Random(number)
    where = "harbour" if name.startswith("/domain/") else "house"
    body = [f"<p>All that is done with the {dice.choice(THINGS)} in the {where}, page {number} of the account.</p>"]
    for place in range(8):
        verb, thing = dice.choice(VERBS), dice.choice(THINGS)
        body.append(f"<p>{verb}_{thing}_{number}_{place}(where, when)<br>{_prose(dice, verb, thing, where)}</p>")
    return f'<html lang="en"><head><title>module {where}{number}</title></head><body>{"".join(body)}</body></html>'


def _prose(dice: random.Random, verb: str, thing: str, where: str) -> str:
    sentences = [
        f"{verb.capitalize()} the {dice.choice(THINGS)} and the {thing} of the {where} {dice.choice(REST)}."
        for _ in range(3)
    ]
    return " ".join(sentences)


@contextmanager
def served(content: dict[str, str], port: int = 0) -> Iterator[str]:
    """Serve the pages; the URL of the first. No header changes from visit to visit."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/robots.txt":
                self._answer(200, "text/plain", "User-agent: *\nDisallow: /private/\n")
            elif self.path in content:
                self._answer(200, "text/html; charset=utf-8", content[self.path])
            else:
                self._answer(404, "text/plain", "not here")

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return "Thu, 01 Jan 2026 00:00:00 GMT"

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
