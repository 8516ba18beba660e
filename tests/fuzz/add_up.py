#!/usr/bin/env python3
"""Adds what the fuzzers have just done to their table in a file of results.

Usage: add_up.py FINDINGS SECONDS RESULTS
FINDINGS holds a log NAME.log of each fuzzer, which ran for SECONDS. The table has a line for each fuzzer: the time that it ran
in all, its executions in all, and how many edges of the code its corpus covers now. Prints "cases=N violations=N".
"""
import re
import sys
from datetime import date
from pathlib import Path

TITLE = "## Fuzzers (`tests/run --long fuzz`), ASan and UBSan"
HEAD = ["| fuzzer | CPU minutes | executions | edges covered | findings | last run |", "|---|---|---|---|---|---|"]
# The table of mutants is appended to by its own command.
LAST = "## Mutants"


def read_table(lines: list[str]) -> dict[str, list[str]]:
    rows = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 6 and cells[0] != "fuzzer":
            rows[cells[0]] = cells
    return rows


def main() -> None:
    findings, seconds, results = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    lines = results.read_text(encoding="utf-8").split("\n")
    begin = lines.index(TITLE) if TITLE in lines else None
    if begin is None:
        begin = next((i for i, line in enumerate(lines) if line.startswith(LAST)), len(lines))
        end = begin
    else:
        end = next((i for i in range(begin + 1, len(lines)) if lines[i].startswith("## ")), len(lines))
    rows = read_table(lines[begin:end])
    cases = violations = 0
    for log in sorted(findings.glob("*_fuzz.log")):
        text = log.read_text(encoding="utf-8", errors="replace")
        executed = re.findall(r"^stat::number_of_executed_units: *(\d+)", text, re.M)
        covered = re.findall(r"^#\d+\t.* cov: (\d+)", text, re.M)
        found = 0 if executed else 1
        before = rows.get(log.stem, [log.stem, "0", "0", "0", "0", ""])
        done = int(executed[-1]) if executed else 0
        minutes = float(before[1]) + seconds / 60
        edges = max([int(before[3])] + [int(edge) for edge in covered])
        rows[log.stem] = [log.stem, f"{minutes:g}", str(int(before[2].replace(",", "")) + done), str(edges),
                          str(int(before[4]) + found), date.today().isoformat()]
        cases += done
        violations += found
    table = [TITLE, "", *HEAD, *("| " + " | ".join(rows[name]) + " |" for name in sorted(rows)), ""]
    results.write_text("\n".join(lines[:begin] + table + lines[end:]), encoding="utf-8")
    print(f"fuzz: cases={cases} violations={violations}")


if __name__ == "__main__":
    main()
