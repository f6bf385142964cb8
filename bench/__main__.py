"""`python -m bench [SUBJECT] [--only ROW] [--json]`: run the subjects and print one table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bench.measure import machine, table

SUBJECTS = ("spine", "curate", "tokens", "pretrain", "learning", "decode", "posttrain", "adapt", "plan")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("subject", nargs="?", choices=SUBJECTS, help="default: all of them")
    parser.add_argument("--only", metavar="ROW", help="one row of the subject")
    parser.add_argument("--json", action="store_true", help="one JSON object a row and size")
    given = parser.parse_args()
    if given.only and not given.subject:
        parser.error("--only needs the subject that the row is of")
    lines = []
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    for subject in (given.subject,) if given.subject else SUBJECTS:
        only = ["--only", given.only] if given.only else []
        script = Path(__file__).with_name(f"{subject}.py")
        ran = subprocess.run([sys.executable, script, *only, "--json"], stdout=subprocess.PIPE, text=True)
        lines += ran.stdout.splitlines()
        if ran.returncode:
            sys.exit(ran.returncode)
    print("\n".join(lines) if given.json else table([json.loads(line) for line in lines]))


if __name__ == "__main__":
    main()
