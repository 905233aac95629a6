"""What the commands say at their end, and their exit status."""

from __future__ import annotations

from .images import N_NAMED, Images
from .output import write_line

DONE, FAILED, USAGE, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


def report_skipped(command: str, *data: Images) -> int:
    """Write which files were left out to stderr, and return the exit status."""
    skipped = {file: reason for images in data for file, reason in images.skipped.items()}
    if not skipped:
        return DONE
    n_files = len(skipped) + sum(len(images.files) for images in data)
    write_line(f"sksiamese {command}: {len(skipped)} of {n_files} files were skipped:")
    for file, reason in list(skipped.items())[:N_NAMED]:
        write_line(f"  {file}: {reason}")
    if len(skipped) > N_NAMED:
        write_line(f"  and {len(skipped) - N_NAMED} more")
    return SKIPPED
