from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hornbook.config import build
from hornbook.errors import InputError, Interrupted, UsageError
from hornbook.execute import execute
from hornbook.learn.reinforcement import Reinforcement
from hornbook.manifest import Input, read_manifest
from hornbook.stages import load
from tests import ranks
from tests.forked import command
from tests.test_training import WORDS, small_model

OPTIONS: dict[str, Any] = {
    "base": "model",
    "rows": "questions.jsonl",
    "rewards": {"length": 1.0},
    "target": 4,
    "questions": 4,
    "samples": 4,
    "epochs": 1.0,
    "prompt_length": 60,
    "max_new_tokens": 8,
    "learning_rate": 3e-3,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a tiny model and a few dozen questions."""
    monkeypatch.chdir(tmp_path)
    small_model(WORDS)
    rows = [{"question": f"What is {n}?", "answer": f"{n}"} for n in range(40)]
    Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def made(*, runs: Path = Path("runs"), **values: Any) -> Path:
    loaded = load("reinforce")
    return execute(loaded, build(loaded.config, {**OPTIONS, **values}, where="reinforce"), runs=runs)


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


TOLD = {"reward", "entropy", "clip_fraction", "stale_kl", "sampler_gap", "completion_length", "share_cut"}
TOLD |= {"zero_variance_groups", "length_correlation", "tokens/prompt", "tokens/sampled", "tokens/padded"}


@pytest.mark.parametrize(
    "options",
    [
        {"method": "grpo"},
        {"method": "grpo", "beta": 0.0, "updates": 2},
        {"method": "dapo", "resample": 2, "overlong": 4},
        {"method": "dr_grpo", "lora": {"r": 2}},
        {"method": "rloo", "updates": 2, "lora": {"r": 2}},
        {"method": "grpo", "lora": {"r": 2}, "quantize": "nf4"},
        {"method": "ppo", "updates": 3},
    ],
    ids=str,
)
def test_every_method_learns_and_says_what_it_did(folder: Path, options: dict[str, Any]) -> None:
    run = made(**options)
    manifest, rows = read_manifest(run), metrics(run)
    steps = [row for row in rows if "loss" in row]
    assert len(steps) == -(-manifest.counts["questions"] // 4) * options.get("updates", 1)
    assert steps[0].keys() >= TOLD
    assert ("kl" in steps[0]) == (options["method"] in ("grpo", "rloo", "ppo") and options.get("beta") != 0.0)
    # On the policy that spoke nothing is stale, and the decoder's numbers are those of training.
    assert (steps[0]["stale_kl"], steps[0]["clip_fraction"]) == pytest.approx((0, 0), abs=1e-9)
    assert all(step["sampler_gap"] < 1e-5 for step in steps)
    if options.get("updates", 1) > 1:
        assert steps[1]["stale_kl"] > 0
        assert steps[1]["tokens/sampled"] == 0 < steps[0]["tokens/sampled"]
    assert rows[0]["held_out_kl"] == pytest.approx(0, abs=1e-9)
    assert rows[-1]["held_out_kl"] > 0
    assert (run / "adapter_config.json").exists() == ("lora" in options)
    said = [json.loads(line) for line in (run / "completions.jsonl").read_text().splitlines()]
    assert len(said) == manifest.counts["questions_held_out"] > 0
    assert sum(row["reward"] for row in said) / len(said) == pytest.approx(rows[-1]["held_out_reward"])


def test_reward_rises_where_it_can(folder: Path) -> None:
    """Answers of four characters: a model that says bytes at random learns to stop."""
    run = made(epochs=10, samples=8, learning_rate=1e-2, beta=0.0)
    held = [row["held_out_reward"] for row in metrics(run) if "held_out_reward" in row]
    assert held[-1] > held[0] + 0.2


def test_tokens_are_accounted_for(folder: Path) -> None:
    run = made(beta=0.0)
    counts, steps = read_manifest(run).counts, [row for row in metrics(run) if "loss" in row]
    assert counts["tokens_sampled"] == counts["tokens_learned"]
    assert counts["tokens_sampled"] == round(sum(16 * row["completion_length"] for row in steps))
    for row in steps:
        # What is computed is each of the four prompts once, every completion but for its last token, and padding.
        assert row["tokens"] == row["tokens/prompt"] - 4 + row["tokens/sampled"] + row["tokens/padded"]


KEPT = ("model.safetensors", "completions.jsonl", "metrics.jsonl")


def test_a_stopped_run_goes_on_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice, both times inside of a rollout that several steps learn from."""
    options = {"method": "ppo", "updates": 3, "runs": Path("others")}
    whole = made(**options)
    plain = Reinforcement.batches
    for at in (5, 9):
        with monkeypatch.context() as patch:
            patch.setattr(Reinforcement, "batches", lambda self, step, at=at: _stopping(plain, self, step, at))
            with pytest.raises(Interrupted):
                made(**{**options, "runs": Path("runs")})
    again = made(**{**options, "runs": Path("runs")})
    assert "going on from step 9" in capsys.readouterr().err
    for name in KEPT:
        assert (again / name).read_bytes() == (whole / name).read_bytes()


def _stopping(batches: Any, learning: Reinforcement, step: int, at: int) -> Any:
    """A signal in the step that ends as step `at`."""
    if step == at - 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return batches(learning, step)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rewards": {}}, UsageError, "there is no reward"),
        ({"rewards": {"gsm9k": 1.0}}, UsageError, "there is no reward 'gsm9k'"),
        ({"rewards": {"model": 1.0}}, UsageError, "the reward 'model' needs 'reward_model'"),
        ({"samples": 1}, UsageError, "compares the answers to a question with each other: samples = 1"),
        ({"overlong": 8}, UsageError, "overlong = 8 leaves none of the 8 tokens"),
        ({"prompt_length": 125}, UsageError, "prompt_length \\+ max_new_tokens = 133 is more than the model's 128"),
        ({"prompt_length": 5}, InputError, "questions.jsonl row 1: its prompt has .* tokens, more than 5"),
        ({"rewards": {"python": 1.0}}, InputError, "tests = None is no Python"),
    ],
)
def test_what_cannot_be_learned(folder: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made(**options)


def test_a_reward_model_is_one_more_reward(folder: Path) -> None:
    stage = load("reward")
    pairs = [{"prompt": f"What is {n}?", "chosen": "river", "rejected": "barn"} for n in range(8)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    config = build(stage.config, {"base": "model", "rows": "pairs.jsonl", "length": 60}, where="reward")
    judge = execute(stage, config, runs=Path("runs"))
    run = made(rewards={"model": 0.5, "length": 1.0}, reward_model=str(judge))
    row = metrics(run)[1]
    assert row["reward"] == pytest.approx(0.5 * row["reward/model"] + row["reward/length"], abs=1e-6)
    assert Input(run).manifest is not None


@pytest.mark.parametrize("adapter", [{"prompt": {"tokens": 2}}, {"prefix": {"tokens": 2}}, {"ia3": {}}], ids=str)
def test_other_adapters_than_lora_learn_too(folder: Path, adapter: dict[str, Any]) -> None:
    run = made(**{**OPTIONS, **adapter, "epochs": 0.2, "beta": 0.1})
    assert (run / "adapter_model.safetensors").is_file()
    assert not (run / "model.safetensors").exists()


def test_two_processes_say_and_learn_what_one_does(folder: Path) -> None:
    """Each answers its own questions, and computes its own micro-batches; several steps learn from a rollout."""
    given = (
        "reinforce model --rows questions.jsonl --rewards.length 1 --target 4 --questions 5 --samples 4 --updates 2 "
    )
    given += "--epochs 0.5 --prompt-length 60 --max-new-tokens 8 --device cpu --precision fp32 --runs"
    one, two = (Path(f"by-{count}") for count in (1, 2))
    for count, runs in ((1, one), (2, two)):
        ranks.run(count, command, *given.split(), str(runs), folder=folder)
    (alone,), (together,) = (list(runs.glob("reinforce-*")) for runs in (one, two))
    assert (together / "completions.jsonl").read_bytes() == (alone / "completions.jsonl").read_bytes()
    assert len(metrics(alone)) == len(metrics(together)) > 8
    for ours, theirs in zip(metrics(together), metrics(alone), strict=True):
        assert ours == {key: pytest.approx(value, rel=1e-3, abs=1e-6) for key, value in theirs.items()}
        exact = [key for key in theirs if key.startswith("tokens/") or key.endswith("reward")]
        assert [ours[key] for key in exact] == pytest.approx([theirs[key] for key in exact], rel=1e-12)
