"""Write docs/_inventories: where other packages document the names that our docstrings mention.

Sphinx reads these instead of the packages' own inventories, so that the site is built without a
network. Add a name here when Sphinx reports that it does not find it.

    python tools/inventories.py
"""

import zlib
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "_inventories"

# package: {page, where $ is the name: "type names"}
NAMES = {
    "python": {
        "library/functions.html#$": "py:class object slice; py:function callable",
        "library/stdtypes.html#$": "py:class bool dict float int list str tuple",
        "library/exceptions.html#$": "py:exception FloatingPointError IndexError KeyError "
        "KeyboardInterrupt ModuleNotFoundError OSError RuntimeError TypeError UserWarning "
        "ValueError FileNotFoundError ImportError StopIteration",
        "library/pathlib.html#$": "py:class pathlib.Path",
        "library/os.html#$": "py:class os.PathLike",
        "library/constants.html#$": "py:data False None True",
        "library/stdtypes.html#boolean-type-bool": "std:label bltin-boolean-values",
        "glossary.html#term-$": "std:term generator iterable sequence",
    },
    "numpy": {
        "reference/generated/$.html#$": "py:class numpy.ndarray numpy.memmap numpy.dtype; "
        "py:function numpy.load numpy.save",
        "glossary.html#term-$": "std:term array_like",
        "reference/random/generator.html#$": "py:class numpy.random.Generator; "
        "py:function numpy.random.default_rng",
        "reference/random/legacy.html#$": "py:class numpy.random.RandomState",
    },
    "sklearn": {
        "modules/generated/$.html#$": "py:class sklearn.utils.Bunch sklearn.pipeline.Pipeline "
        "sklearn.utils.metadata_routing.MetadataRequest sklearn.base.BaseEstimator "
        "sklearn.model_selection.GridSearchCV sklearn.model_selection.GroupKFold; "
        "py:function sklearn.datasets.get_data_home sklearn.datasets.load_files "
        "sklearn.set_config sklearn.base.clone sklearn.model_selection.cross_val_score",
        "metadata_routing.html#metadata-routing": "std:label metadata_routing",
        "modules/df_output_transform.html": "std:label df_output_transform",
        "auto_examples/miscellaneous/plot_set_output.html": "std:label "
        "sphx_glr_auto_examples_miscellaneous_plot_set_output.py",
        "glossary.html#term-$": "std:term meta-estimator",
    },
    "torch": {
        "tensors.html#$": "py:class torch.Tensor",
        "generated/$.html#$": "py:class torch.nn.Module torch.Generator torch.device",
        "optim.html#$": "py:class torch.optim.Optimizer",
        "export.html#$": "py:function torch.export.export",
    },
    "skorch": {
        "callbacks.html#$": "py:class skorch.callbacks.Callback skorch.callbacks.LRScheduler",
    },
    "matplotlib": {
        "api/_as_gen/$.html#$": "py:class matplotlib.axes.Axes",
        "api/figure_api.html#$": "py:class matplotlib.figure.Figure",
    },
}


def lines(package):
    """Yield the lines of a package's inventory, as sphinx.util.inventory reads them."""
    for page, names in NAMES[package].items():
        for part in names.split("; "):
            kind, *words = part.split()
            for name in words:
                # The text of a link without one of its own: of a label, its title.
                text = name.replace("_", " ") if kind == "std:label" else "-"
                yield f"{name} {kind} 1 {page.replace('$', name)} {text}\n"


def main():
    """Write the inventories."""
    for package in NAMES:
        head = (
            "# Sphinx inventory version 2\n"
            f"# Project: {package}\n"
            "# Version: \n"
            "# The remainder of this file is compressed using zlib.\n"
        )
        body = zlib.compress("".join(lines(package)).encode(), 9)
        (FOLDER / f"{package}.inv").write_bytes(head.encode() + body)


if __name__ == "__main__":
    main()
