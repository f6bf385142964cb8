"""The arrows between the layers, as pyproject.toml draws them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("text", "model", "learn", "judge")


def modules(package: str) -> list[str]:
    """The names of a package's modules."""
    files = sorted((ROOT / "hornbook" / package).rglob("*.py"))
    names = (file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in files)
    return [name.removesuffix(".__init__") for name in names]


def imported_by(code: str) -> set[str]:
    """What is imported after some code has run in a fresh interpreter."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_every_arrow_points_down(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--cache-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout


def test_text_needs_no_torch() -> None:
    """Not even indirectly, through a package that imports it."""
    loaded = imported_by("\n".join(f"import {name}" for name in modules("text")))
    assert not {"torch", "transformers"} & loaded
    assert set(modules("text")) <= loaded


def test_nouns_know_nothing_of_runs() -> None:
    loaded = imported_by("\n".join(f"import {name}" for package in PACKAGES for name in modules(package)))
    shell = {f"hornbook.{name}" for name in ("cli", "config", "manifest", "progress", "recipe", "report", "run")}
    assert not shell & loaded
    assert not [name for name in loaded if name.startswith("hornbook.stages")]


def test_stages_that_handle_text_start_without_torch() -> None:
    stages = "\n".join(f"import hornbook.stages.{name}" for name in ("crawl", "curate", "tokenize"))
    assert "torch" not in imported_by(f"{stages}\nimport hornbook.recipe, hornbook.execute")
