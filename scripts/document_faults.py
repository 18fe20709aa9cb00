"""Writes the results of the fault tests into docs/reliability.md (make document-faults).

The files are those of FAULT_RESULTS in runs of `make faults`, with a line of JSON for each fault.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.fault_outcomes import Outcomes  # noqa: E402 - the path comes first
from tests.faults.fault_table import table, totals  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"
BEGIN = "<!-- what was found: written by `make document-faults` -->\n"
END = "<!-- the end of what was found -->\n"


def main(files: list[str]) -> int:
    """Rewrite the section of the page. Returns the exit code: 1 without files."""
    if not files:
        sys.stderr.write("Name the files of FAULT_RESULTS in runs of make faults: FILES='a.jsonl b.jsonl'\n")
        return 1
    lines = [line for file in files for line in Path(file).read_text("utf-8").splitlines()]
    outcomes = [Outcomes(**json.loads(line)) for line in lines]
    text = PAGE.read_text("utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{totals(outcomes)}.\n\n{table(outcomes)}\n\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
