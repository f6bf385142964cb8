# Two commands do everything: `make demo` and `make test`. Both begin with `make setup`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test kernels setup lint types bench bench-setup docs clean

demo: setup  ## crawl -> curate -> ... -> an aligned model, and a page about it
	$(BIN)/hornbook run recipes/demo.toml

# Files in their own order: by the number of their tests, one of nine that take minutes would begin last, by itself.
test: setup lint  ## lint, types, layers and all tests
	$(MAKE) --jobs 2 types kernels
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

kernels: setup  ## what is compiled at its first call, before two test processes would each do it
	$(BIN)/python -m tests.kernels

setup: .venv/.installed  ## .venv with the package, its development tools and what the parity tests need

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

# torch first and by itself: what the peers ask for would bring a CUDA build. Pins of datatrove, dolma and litgpt clash with
# others. A new pip first: old ones search for hours.
bench-setup:  ## the peers, in four venvs of their own
	for peers in .venv-bench .venv-bench-datatrove .venv-bench-dolma .venv-bench-litgpt; do \
	    $(PYTHON) -m venv $$peers && $$peers/bin/python -m pip install --quiet --upgrade pip || exit 1; done
	.venv-bench/bin/python -m pip install --quiet 'torch>=2.11,<2.14'
	.venv-bench/bin/python -m pip install --quiet --editable . 'torch<2.14' 'trafilatura>=2.3' lxml_html_clean rensa transformers accelerate datasets peft trl bitsandbytes ctranslate2
	.venv-bench-datatrove/bin/python -m pip install --quiet 'datatrove[io,processing]==0.10.*' lxml_html_clean spacy
	.venv-bench-dolma/bin/python -m pip install --quiet 'dolma==1.2.*'
	.venv-bench-litgpt/bin/python -m pip install --quiet 'torch>=2.11,<2.14'
	.venv-bench-litgpt/bin/python -m pip install --quiet --editable . 'torch<2.14' 'transformers<5' litgpt

bench: setup  ## ours and the peers in turn, as a table
	$(BIN)/python -m bench

docs: setup  ## generate docs/reference from the code
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv .venv-bench .venv-bench-datatrove .venv-bench-dolma .venv-bench-litgpt runs
