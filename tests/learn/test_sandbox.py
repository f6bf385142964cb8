from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hornbook.learn import sandbox
from hornbook.learn.sandbox import Limits, all_pass, passes

SHORT = Limits(seconds=1.0, memory=256 * 2**20)


@pytest.mark.parametrize(
    ("program", "tests", "good"),
    [
        ("def add(a, b): return a + b", "assert add(2, 3) == 5", True),
        ("def add(a, b): return a - b", "assert add(2, 3) == 5", False),
        ("def add(a, b) return", "assert True", False),
        ("import math, re, collections, itertools, functools, datetime", "assert math.sqrt(4) == 2", True),
        ("print('x' * 100_000)", "assert True", True),
        ("name = input() if False else 'ä'", "assert name == 'ä'", True),
        ("", "", True),
    ],
)
def test_a_program_passes_when_its_tests_run_to_the_end(program: str, tests: str, good: bool) -> None:
    assert passes(program, tests) is good


HOSTILE = {
    "ends at once": "import os; os._exit(0)",
    "ends politely": "import sys; sys.exit(0)",
    "loops": "while True: pass",
    "sleeps": "import time; time.sleep(60)",
    "ignores signals": "import signal\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",  # noqa: E501
    "takes memory": "x = bytearray(2**30)",
    "grows": "x = []\nwhile True: x.append(bytearray(2**20))",
    "recurses": "import sys\nsys.setrecursionlimit(10**8)\ndef f(): return f()\nf()",
    "forks": "import os\nwhile True: os.fork()",
    "forks past the hook": "import _posixsubprocess",
    "starts a program": "import subprocess; subprocess.run(['/bin/true'])",
    "asks a shell": "import os; os.system('true')",
    "kills its parent": "import os; os.kill(os.getppid(), 9)",
    "kills its group": "import os; os.killpg(0, 9)",
    "opens a socket": "import socket; socket.socket()",
    "native code": "import ctypes; ctypes.CDLL(None)",
    "reads its answer": "import sys; assert len(sys.stdin.read()) > 0",
    "raises its limits": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
    "overruns its verdict": "import os\nfor d in range(20):\n  try: os.write(d, b'x' * 10**7)\n  except OSError: pass",
    "is too large a file": "with open('big', 'wb') as f:\n    f.write(b'x' * 2**21); f.flush()",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_program_fails_and_ends(kind: str) -> None:
    began = time.monotonic()
    assert not passes(HOSTILE[kind], "assert True", limits=SHORT)
    assert time.monotonic() - began < SHORT.seconds + 3


def test_an_own_folder_can_be_written_to_and_is_gone_afterwards(tmp_path: Path) -> None:
    own = "with open('note', 'w') as f: f.write('x')\nassert open('note').read() == 'x'"
    assert passes(own, "")
    assert not passes(f"open({str(tmp_path / 'note')!r}, 'w')", "")
    assert not passes(f"import os; os.mkdir({str(tmp_path / 'folder')!r})", "")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def listening() -> Iterator[int]:
    """A port of this machine that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The sandbox without its audit hook, as it is for a program that got past it."""
    script = tmp_path / "unguarded.py"
    script.write_text(sandbox.SCRIPT.read_text().replace("guard(os.getcwd())", "pass"))
    monkeypatch.setattr(sandbox, "SCRIPT", script)
    return script


def test_the_network_is_out_of_reach_even_past_the_hook(listening: int, unguarded: Path) -> None:
    if not sys.platform.startswith("linux") or os.getuid():
        pytest.skip("namespaces need root, or a system that allows them to everybody")
    connect = f"import socket; socket.create_connection(('127.0.0.1', {listening}), timeout=1)"
    assert not passes(connect, "")
    assert passes("import socket; socket.socket()", "")


def test_no_process_is_left_behind(unguarded: Path) -> None:
    """A fork bomb that gets past the hook dies with the first process of its space, or is refused by the limit."""
    bomb = "import os, time\nfor _ in range(4):\n    os.fork()\nif os.getppid() > 1: os.setsid()\ntime.sleep(60)"
    assert not passes(bomb, "", limits=SHORT)
    time.sleep(0.1)
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(str(unguarded).encode() in line for line in lines)


def test_many_are_judged_in_their_order() -> None:
    pairs = [(f"x = {n}", f"assert x == {n % 2}") for n in range(5)]
    assert all_pass(pairs) == [True, True, False, False, False]
