"""Motor programs: drawings explained by the strokes that made them.

After B. Lake, R. Salakhutdinov and J. Tenenbaum, "One-shot learning by inverting a compositional
causal process", 2013, and "Human-level concept learning through probabilistic program induction",
2015. Read from the top: a drawing is thinned (`thinning`) to a graph (`skeleton`), which random
walks (`walks`) divide into strokes, and corners into sub-strokes (`strokes`), written as splines
(`splines`); a prior over primitives and relations (`primitives`) chooses among them (`parsing`).
The result is a `program`. Its tokens (`tokens`) are fitted to another drawing (`fitting`), and
what stays unexplained is its score (`scoring`). ``docs/motor_programs.md`` lists what of BPL is
kept and what is replaced.
"""

from .curves import curve_costs, curve_program
from .fitting import Stack, fit
from .parsing import parse
from .program import CANVAS, N_POINTS, Program, pack, unpack
from .scoring import FINAL, Drawings, costs, terms
from .tokens import TokenModel, Tokens

__all__ = [
    "CANVAS",
    "FINAL",
    "N_POINTS",
    "Drawings",
    "Program",
    "Stack",
    "TokenModel",
    "Tokens",
    "costs",
    "curve_costs",
    "curve_program",
    "fit",
    "pack",
    "parse",
    "terms",
    "unpack",
]
