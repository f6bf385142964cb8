"""`hornbook`, `python -m hornbook`."""

import sys

from hornbook.memory import keep_tidy

COMPUTE = ("plan", "pretrain", "scale", "sft", "reward", "align", "sample", "reinforce", "evaluate", "run")
"""Commands whose memory is that of tensors."""


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] and sys.argv[1] in COMPUTE:
        keep_tidy()
    # After that, since the imports are most of the time of a short command.
    from hornbook.cli import main as run

    run()


if __name__ == "__main__":
    main()
