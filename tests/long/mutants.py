"""Change single expressions of the package, and count the changes that no test notices.

    python tests/long/mutants.py

Runs mutmut (`[tool.mutmut]` in pyproject.toml names the files and the tests), which keeps its
copies and results in the folder `mutants`, and writes the table of `tests/long/mutants.md`: for
each file how many mutants were killed, and each survivor with the reason why it may live. A new
survivor has the reason "?". The exit status is 1 if fewer than nine of ten mutants of a file were
killed, or if a reason is missing.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_suffix(".md")
START, END = "<!-- survivors -->\n", "<!-- end -->\n"
# What mutmut keeps of a mutant: the exit status of pytest, or its own for what was not run.
NOT_RUN, NO_TESTS, SURVIVED = None, 33, 0


def change(name):
    """Return the lines that a mutant removes and adds, each as one line."""
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name], cwd=ROOT, capture_output=True, text=True
    ).stdout
    lines = {"-": [], "+": []}
    for line in shown.splitlines():
        if line[:2] in ("- ", "+ "):
            lines[line[0]].append(line[1:])
    old, new = (" ".join(" ".join(part).split()) for part in lines.values())
    return f"`{old}` → `{new or 'nothing'}`".replace("|", "\\|")


def results():
    """Yield (file, {mutant: status}) of the files that have mutants."""
    folder = ROOT / "mutants"
    for path in sorted(folder.rglob("*.meta")):
        statuses = json.loads(path.read_text())["exit_code_by_key"]
        if statuses:
            yield path.relative_to(folder).with_suffix("").as_posix(), statuses


def known_reasons():
    """Return {(function, change): reason} of the page."""
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {(function, what): reason for function, what, reason in rows}


def function_of(name):
    """Return the function of a mutant: ``Class.method`` or ``function``."""
    mangled = name.rpartition(".")[2].rpartition("__mutmut_")[0]  # x_function, xǁClassǁmethod
    return mangled[1:].removeprefix("_").strip("ǁ").replace("ǁ", ".")


def report():
    """Return the tables, and what is wrong with the results."""
    reasons, wrong = known_reasons(), []
    counts = ["| file | mutants | run | killed | survived |", "| --- | --- | --- | --- | --- |"]
    survivors = []
    for file, statuses in results():
        lived = [name for name, status in statuses.items() if status in (NO_TESTS, SURVIVED)]
        n = sum(status is not NOT_RUN for status in statuses.values())
        share = 100 * (1 - len(lived) / max(n, 1))
        killed = f"{n - len(lived)} ({share:.1f} %)"
        counts.append(f"| `{file}` | {len(statuses)} | {n} | {killed} | {len(lived)} |")
        print(counts[-1], flush=True)
        if share < 90:
            wrong.append(f"{file}: {share:.1f} % killed")
        rows = sorted({(function_of(name), change(name)) for name in lived})
        for row in rows:
            if reasons.get(row, "?") == "?":
                wrong.append(f"{file}: no reason for {row}")
        if rows:
            survivors += ["", f"`{file}`", ""]
            survivors += ["| function | change | reason |", "| --- | --- | --- |"]
            survivors += [f"| `{row[0]}` | {row[1]} | {reasons.get(row, '?')} |" for row in rows]
    return "\n".join([*counts, *survivors, ""]), wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="of the results that are there")
    parser.add_argument("--max-children", default="2", help="mutants at once")
    args = parser.parse_args()
    if not args.report:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", args.max_children]
        subprocess.run(command, cwd=ROOT, check=True)
    tables, wrong = report()
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(before + START + tables + END + rest.split(END)[1])
    print(*wrong, sep="\n")
    print(f"{len(wrong)} faults; see {PAGE.relative_to(ROOT)}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
