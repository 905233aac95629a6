"""How the site shows the examples: their order, and arguments that make long ones short."""

from pathlib import Path
from typing import Any

# From the first steps to special tasks.
ORDER = (
    "plot_pretrained",
    "plot_quickstart",
    "plot_own_images",
    "plot_idea",
    "plot_five_ways",
    "plot_matches",
    "plot_embeddings",
    "plot_learning_curves",
    "plot_verification",
    "plot_open_world",
    "plot_fine_tuning",
    "plot_signatures",
    "plot_photographs",
    "plot_text_topics",
    "plot_grid_search",
    "plot_dask_search",
    "plot_motor_programs",
    "plot_together",
)
ARGUMENTS = {"plot_quickstart": ["--epochs", "4"]}


class Order:
    """Key that sorts files of examples, as sphinx-gallery's ``within_subsection_order``."""

    def __init__(self, folder: str) -> None:
        pass

    def __call__(self, file: str) -> int:
        """Return the place of a file."""
        return ORDER.index(Path(file).stem)


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """Return the arguments of a script, as sphinx-gallery asks for them by ``reset_argv``."""
    return ARGUMENTS.get(Path(script_vars["src_file"]).stem, [])
