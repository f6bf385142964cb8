from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hornbook.config import build
from hornbook.errors import Damaged, InputError, UsageError
from hornbook.execute import execute, name_run
from hornbook.learn.chat import TEMPLATE
from hornbook.learn.loop import next_token
from hornbook.learn.rows import Conversation, Judgement
from hornbook.manifest import Input, read_manifest
from hornbook.model.adapters.attached import adapters
from hornbook.model.architecture import Architecture
from hornbook.model.transformer import Transformer
from hornbook.model.weights import load_model, save_model
from hornbook.stages import load
from hornbook.text import bpe
from hornbook.text.document import Document, write_documents
from hornbook.training.opening import open_model
from hornbook.training.reading import split

WORDS = ("river", "meadow", "barn", "lantern", "orchard")


def small_model(words: Sequence[str]) -> None:
    """`tokens`, a tokenizer of the words, and `model`, in the folder that is worked in."""
    Path("tokens").mkdir()
    bpe.save(bpe.train(words, vocabulary=270), Path("tokens"))
    shape = Architecture(
        vocab_size=270,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=128,
    )
    save_model(Path("model"), Transformer(shape).initialize(0), tokenizer=Path("tokens"), bos=0, eos=[0], pad=3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a tiny model and three conversations, too few for one to be held out."""
    monkeypatch.chdir(tmp_path)
    small_model(WORDS)
    write("chats.jsonl", *map(chat, WORDS[:3]))
    return tmp_path


def chat(word: str, *, times: int = 1) -> dict[str, Any]:
    asked = " ".join([f"Where is the {word}?"] * times)
    answer = f"By the {word}."
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def write(name: str, *rows: object) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def made(stage: str, *, runs: str = "runs", **values: Any) -> Path:
    loaded = load(stage)
    return execute(loaded, build(loaded.config, values, where=stage), runs=Path(runs))


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        (["attention"], ["k_proj", "o_proj", "q_proj", "v_proj"]),
        (["attention", "up_proj"], ["k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
        (["all-linear"], ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
    ],
)
def test_an_adapter_takes_projections_by_name_or_by_kind(folder: Path, targets: list[str], adapted: list[str]) -> None:
    run = made("sft", base="model", rows="chats.jsonl", epochs=1, length=100, lora={"r": 2, "targets": targets})
    assert json.loads((run / "adapter_config.json").read_text())["target_modules"] == adapted


def test_rows_are_shown_as_they_are_read_and_what_is_said_twice_is_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alpaca = {"instruction": "Where is the river?", "input": "", "output": "By the river.", "topic": "water"}
    write("mixed.jsonl", alpaca, chat("meadow"), chat("barn"), chat("river"))
    run = made("sft", base="model", rows="mixed.jsonl", epochs=1, length=100, lora={"r": 2})
    told = capsys.readouterr().err
    assert (
        "mixed.jsonl: read as messages (3 rows), Alpaca's instructions (not used: topic) (1 rows); "
        'row 1 becomes user: "Where is the river?", assistant: "By the river."\n'
    ) in told
    assert (
        "1 rows repeat another and are learned from again; "
        "the first of them: mixed.jsonl row 4 says what mixed.jsonl row 1 says\n"
    ) in told
    assert read_manifest(run).counts["rows_repeated"] == 1


def test_of_two_rows_that_say_the_same_neither_or_both_are_held_out() -> None:
    said = [[{"role": "user", "content": f"Where is it, {n % 60}?"}] for n in range(120)]
    train, held = split([Conversation(str(n), messages, f"r row {n}") for n, messages in enumerate(said)])
    assert len(train) + len(held) == 120
    assert 0 < len(held) < 30
    assert not {row.spoken for row in train} & {row.spoken for row in held}


def test_of_two_judgements_of_one_prompt_neither_or_both_are_held_out() -> None:
    asked = [[{"role": "user", "content": f"Where is it, {n % 60}?"}] for n in range(120)]
    answers = [{"role": "assistant", "content": f"There, {n}."} for n in range(120)]
    rows = [Judgement(str(n), asked[n], answers[n], n < 60, f"r row {n}") for n in range(120)]
    train, held = split(rows)
    assert 0 < len(held) < 30
    assert not {row.asked for row in train} & {row.asked for row in held}


def test_noise_changes_what_is_learned_and_nothing_else(folder: Path) -> None:
    options: dict[str, Any] = {"base": "model", "rows": "chats.jsonl", "epochs": 1, "length": 100, "lora": {"r": 2}}
    plain, noisy = (made("sft", **options, neftune_alpha=alpha) for alpha in (0.0, 5.0))
    first = [json.loads((run / "metrics.jsonl").read_text().splitlines()[1])["loss"] for run in (plain, noisy)]
    assert first[0] != first[1]
    assert (plain / "adapter_config.json").read_bytes() == (noisy / "adapter_config.json").read_bytes()


def test_a_template_that_never_stops_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model" / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    made("sft", base="model", rows="chats.jsonl", epochs=1, length=100, lora={"r": 2})
    assert "the chat template ends answers in '.', which ends no answer when the model" in capsys.readouterr().err


def test_a_row_that_cannot_be_measured_is_set_aside(folder: Path) -> None:
    Path("rows").mkdir()
    write("rows/sft.valid.jsonl", {}, chat("river"), chat("meadow", times=50))
    write("rows/preference.valid.jsonl", {"prompt": "a", "chosen": "b", "rejected": "b"})
    write("rows/minimal_pairs.jsonl", {"sentence_good": "a b", "sentence_bad": "b a"})
    shutil.copytree("model", "other")
    run = made(
        "evaluate",
        models={"m": "model", "again": "other"},
        rows="rows",
        length=100,
        context=64,
        max_new_tokens=2,
        bad_rows="skip",
    )
    assert read_manifest(run).counts == {
        "rows_set_aside": 3,
        "conversations": 1,
        "conversations_cut": 0,
        "tokens_cut": 0,
    }
    assert len((run / "quarantine.jsonl").read_text().splitlines()) == 3
    assert json.loads((run / "scores.json").read_text())["m"].keys() == {"answer_log_likelihood", "minimal_pairs"}


def test_answers_are_measured_by_rule_and_by_a_reward_model(folder: Path) -> None:
    pairs = [{"prompt": f"Where is the {w}?", "chosen": f"By the {w}.", "rejected": "No."} for w in WORDS[:3]]
    write("pairs.jsonl", *pairs)
    judge = made("reward", base="model", rows="pairs.jsonl", epochs=1, length=60)
    taught = made("sft", base="model", rows="chats.jsonl", epochs=2, length=100)
    told = [{"check": "words", "most": 500}, {"check": "begins", "text": "never this"}]
    write("asked.jsonl", {"prompt": "Where is the barn?", "checks": told}, {"prompt": "Where?"})
    models = {"base": "model", "sft": str(taught)}
    values = {"context": 64, "max_new_tokens": 3, "models": models, "asked": "asked.jsonl", "reward": str(judge)}
    results = read_manifest(made("evaluate", **values)).results
    assert results["models"]["sft"].keys() >= {"refusals", "abusive_answers", "empty_answers", "instructions", "reward"}
    assert results["models"]["sft"]["instructions"] == 0.0
    assert results["instructions_by_check"]["sft"]["begins"]["count"] == 1
    assert "win_rate" not in results["models"]["base"]
    assert results["intervals"]["sft"]["win_rate"]["count"] == 2


def test_a_check_that_is_not_known_is_named(folder: Path) -> None:
    write("asked.jsonl", {"prompt": "Where?", "checks": [{"check": "word"}]})
    with pytest.raises(InputError, match=r"asked.jsonl row 1: checks\[0\]: check = 'word' is not known"):
        made("evaluate", context=64, models={"m": "model"}, asked="asked.jsonl")


def test_what_was_cut_is_counted_once_whatever_the_number_of_models(folder: Path) -> None:
    Path("rows").mkdir()
    long = chat("river")
    long["messages"][1]["content"] *= 9
    pair = {"prompt": "Where?", "chosen": "By the river." * 9, "rejected": "By the barn."}
    write("rows/sft.valid.jsonl", long, chat("meadow"))
    write("rows/preference.valid.jsonl", pair)
    write("rows/minimal_pairs.jsonl", {"sentence_good": "a b", "sentence_bad": "b a", "UID": "order"})
    shutil.copytree("model", "other")
    models = {"one": "model", "two": "other"}
    run = read_manifest(made("evaluate", models=models, rows="rows", length=80, context=64, max_new_tokens=2))
    assert (run.counts["conversations"], run.counts["conversations_cut"]) == (2, 1)
    assert (run.counts["pairs"], run.counts["pairs_cut"]) == (1, 1)
    assert run.results["minimal_pairs_by_kind"]["two"]["order"]["count"] == 1


def test_an_adapter_of_an_adapter_becomes_a_whole_model(folder: Path) -> None:
    first = made("sft", base="model", rows="chats.jsonl", epochs=1, length=100, lora={"r": 2})
    assert (first / "adapter_config.json").exists()
    second = made("sft", base=str(first), rows="chats.jsonl", epochs=1, length=100, lora={"r": 2})
    assert not (second / "adapter_config.json").exists()
    assert not adapters(load_model(second))
    tokens = torch.tensor([[0, 20, 21]])
    of = {run: open_model(Input(run), device=torch.device("cpu")).model(tokens) for run in (first, second)}
    assert not torch.equal(of[first], of[second])


def test_a_run_is_named_by_where_it_was_computed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = load("sft")
    config = build(stage.config, {"base": "model", "rows": "chats.jsonl", "device": "cpu"}, where="sft")
    names = set()
    for there in (True, False):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda there=there: there)
        names.add(name_run(stage, config, {})[0])
    assert len(names) == 2


def test_deterministic_changes_nothing_on_a_cpu(folder: Path) -> None:
    runs = []
    try:
        for deterministic in (False, True):
            values = {"base": "model", "rows": "chats.jsonl", "epochs": 2, "length": 100, "device": "cpu"}
            runs.append(made("sft", **values, deterministic=deterministic))
            assert torch.are_deterministic_algorithms_enabled() == deterministic
    finally:
        torch.use_deterministic_algorithms(False)
    plain, exact = ((run / "model.safetensors").read_bytes() for run in runs)
    assert runs[0] != runs[1]
    assert plain == exact


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_deterministic_gives_the_same_bytes_on_a_gpu(folder: Path) -> None:
    values = {"base": "model", "rows": "chats.jsonl", "epochs": 3, "length": 100, "device": "cuda"}
    try:
        first = (made("sft", **values, deterministic=True) / "model.safetensors").read_bytes()
        shutil.rmtree("runs")
        assert (made("sft", **values, deterministic=True) / "model.safetensors").read_bytes() == first
    finally:
        torch.use_deterministic_algorithms(False)


def test_rows_longer_than_the_model_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="length = 200 is more than the model's 128 positions"):
        made("sft", base="model", rows="chats.jsonl", length=200)


def test_no_message_holds_a_control_token_of_the_model(folder: Path) -> None:
    tokenizer = bpe.load(Path("model"))
    tokenizer.add_special_tokens(["<tool>"])
    tokenizer.save("model/tokenizer.json")
    write("chats.jsonl", chat("<tool>"))
    with pytest.raises(InputError, match="holds the control token '<tool>'"):
        made("sft", base="model", rows="chats.jsonl", length=100)


def test_the_template_may_be_in_the_tokenizers_config(folder: Path) -> None:
    config = json.loads(Path("model/tokenizer_config.json").read_bytes())
    template = TEMPLATE.replace("im_start", "pad")
    for held in (template, [{"name": "tool_use", "template": ""}, {"name": "default", "template": template}]):
        Path("model/tokenizer_config.json").write_text(json.dumps(config | {"chat_template": held}))
        assert open_model(Input(Path("model")), device=torch.device("cpu")).template == template
    run = made("sft", base="model", rows="chats.jsonl", epochs=1, length=100)
    assert (run / "chat_template.jinja").read_text() == template


def test_a_tokenizer_without_turns_and_template_cannot_chat(folder: Path) -> None:
    text = Path("model/tokenizer.json").read_text()
    Path("model/tokenizer.json").write_text(text.replace("<|im_start|>", "<|other|>"))
    with pytest.raises(InputError, match=r"no chat template, and its tokenizer lacks '<\|im_start\|>'"):
        made("sft", base="model", rows="chats.jsonl", length=100)


def test_what_begins_and_ends_a_text_is_that_of_the_base(folder: Path) -> None:
    """Others' bases have a token of their own to begin with, and several that end."""
    config = json.loads(Path("model/tokenizer_config.json").read_bytes())
    Path("model/tokenizer_config.json").write_text(json.dumps(config | {"bos_token": "<|pad|>"}))
    Path("model/generation_config.json").write_text(json.dumps({"eos_token_id": [7, 0]}))
    assert {7, 0} <= open_model(Input(Path("model")), device=torch.device("cpu")).stop
    run = made("sft", base="model", rows="chats.jsonl", epochs=1, length=100)
    turn_end = bpe.load(run).token_to_id(bpe.TURN_END)
    held = json.loads((run / "generation_config.json").read_bytes())
    assert held == {"bos_token_id": 3, "eos_token_id": [turn_end, 7, 0], "pad_token_id": 3}


def test_what_ends_a_text_is_a_tokens_number(folder: Path) -> None:
    Path("model/generation_config.json").write_text(json.dumps({"eos_token_id": "</s>"}))
    with pytest.raises(InputError, match=r"generation_config.json: eos_token_id = '</s>' must be a token's number"):
        made("sft", base="model", rows="chats.jsonl", length=100)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_no_object_is_named(folder: Path, text: str) -> None:
    Path("model/tokenizer_config.json").write_text(text)
    with pytest.raises(InputError, match=r"tokenizer_config.json"):
        open_model(Input(Path("model")), device=torch.device("cpu"))


@pytest.fixture
def tokens(folder: Path) -> Path:
    """A run of `tokenize` with the tokenizer of a folder that has another one deeper down."""
    Path("given/old").mkdir(parents=True)
    shutil.copyfile("tokens/tokenizer.json", "given/tokenizer.json")
    Path("given/old/tokenizer.json").write_text("{}")
    Path("corpus").mkdir()
    write_documents(Path("corpus/documents.parquet"), [Document(id=w, text=w, source="s") for w in WORDS])
    return made("tokenize", corpus="corpus", tokenizer="given", held_out=0.5)


def test_a_given_tokenizer_is_the_one_at_the_top(tokens: Path) -> None:
    assert (tokens / "tokenizer.json").read_bytes() == Path("given/tokenizer.json").read_bytes()


def test_a_damaged_tokenizer_is_seen_before_training(tokens: Path) -> None:
    path = tokens / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"[", b"{", 1))
    with pytest.raises(Damaged, match=r"tokenizer.json is damaged"):
        made("pretrain", tokens=str(tokens), depth=1, train_tokens=64, length=16, batch=1)


def test_the_average_of_the_weights_is_what_is_saved(tokens: Path) -> None:
    values = {"tokens": str(tokens), "depth": 1, "train_tokens": 640, "length": 16, "batch": 4, "skip_spikes": False}
    plain, averaged = made("pretrain", **values), made("pretrain", **values, ema=0.5)
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (plain, averaged)
    ]
    losses = [[row["loss"] for row in of if "loss" in row] for of in rows]
    assert losses[0] == losses[1], "training itself does not know of the average"
    judged = [[row["bits_per_byte/s"] for row in of if "bits_per_byte/s" in row] for of in rows]
    assert judged[0][0] == judged[1][0]
    assert judged[0][1:] != judged[1][1:]
    models = [load_model(run) for run in (plain, averaged)]
    assert not any(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True) if a.ndim == 2)


def test_steps_that_were_left_out_are_listed_with_their_documents(
    tokens: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def now_and_then(*given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal calls
        calls += 1
        total, count = next_token(*given)
        return (total * torch.nan if calls in (2, 3) else total), count

    monkeypatch.setattr("hornbook.stages.pretrain.next_token", now_and_then)
    run = made("pretrain", tokens=str(tokens), depth=1, train_tokens=640, length=16, batch=4)
    told = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    assert [(row["step"], row["reason"]) for row in told] == [(n, "the loss is not finite") for n in (2, 3)]
    assert all(set(row["documents"]) <= set(WORDS) and row["documents"] for row in told)
    assert read_manifest(run).counts["steps_skipped"] == 2
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "learned" in row and not row["learned"]] == [2, 3]
    assert all("loss" in row for row in rows if row.get("learned"))
    assert "step 2 is left out: the loss is not finite" in capsys.readouterr().err
