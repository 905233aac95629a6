"""What the commands say at their end, and their exit status."""

from __future__ import annotations

from collections.abc import Mapping

from .images import N_NAMED
from .output import write_line

DONE, FAILED, USAGE, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


def report_skipped(command: str, n_used: int, skipped: Mapping[str, str]) -> int:
    """Write which files were left out, beside those used, and return the exit status."""
    if not skipped:
        return DONE
    n_files = n_used + len(skipped)
    write_line(f"sksiamese {command}: {len(skipped)} of {n_files} files were skipped:")
    for file, reason in list(skipped.items())[:N_NAMED]:
        write_line(f"  {file}: {reason}")
    if len(skipped) > N_NAMED:
        write_line(f"  and {len(skipped) - N_NAMED} more")
    return SKIPPED
