"""Run the scripts of this folder one after the other, and print what each of them counted.

    python tests/long
    python tests/long kills mutants

The exit status is 1 if one of them found a fault. `tox -e long` runs all of them.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
ARGUMENTS = {
    "fuzz_model_files": ["--count", "10000"],
    "fuzz_images": ["--count", "20000"],
    "kills": ["--count", "30"],
    "narrow_shapes": ["--count", "500"],
    "threads": ["--seconds", "60"],
    "properties": ["--count", "20000"],
    "mutants": [],
}


def run(name):
    """Run a script and show what it prints; return its summary, a row of a table."""
    print(f"== {name}", flush=True)
    start, last = time.monotonic(), ""
    command = [sys.executable, "-u", str(FOLDER / f"{name}.py"), *ARGUMENTS[name]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    minutes = (time.monotonic() - start) / 60
    return process.returncode, f"{name:17} {minutes:5.1f} min, exit {process.returncode}: {last}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(ARGUMENTS)}; default: all")
    names = parser.parse_args().names or list(ARGUMENTS)
    if unknown := set(names) - set(ARGUMENTS):
        parser.error(f"no script of the name {', '.join(sorted(unknown))}")
    statuses, rows = zip(*map(run, names), strict=True)
    print("== summary", *rows, sep="\n")
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main())
