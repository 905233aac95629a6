"""Parsing: a drawing to the program that most probably made it.

After Lake et al. 2015, supplement 3: propose walks over the skeleton, score them by the prior.
"""

import heapq
import itertools
import operator
import zlib
from collections.abc import Sequence

import numpy as np

from .primitives import Primitives
from .program import N_POINTS, Program
from .skeleton import skeleton_graph
from .strokes import Stroke, substrokes
from .topology import Topology
from .walks import Steps, Walker, reverse

GREEDY = 1000.0  # sharpness and power that leave only ties to chance
N_GREEDY = 3  # such walks; the others draw from the values below
SHARPNESS = (2.0, 4.0, 8.0, 16.0)
START_POWER = (2.0, 4.0, 6.0)
N_PIECES = 25  # edges and dots, above which only one walk is taken
N_ALL_ORDERS = 4  # strokes, up to which every order is scored
N_ORDERS = 24  # else so many are drawn
N_ORDERED = 12  # strokes, above which the order is by position alone

Walk = tuple[Steps, ...]
Parse = tuple[float, list[Stroke]]  # a log-probability, and the strokes in their order


def parse(
    foreground: np.ndarray,
    *,
    n_parses: int = 1,
    n_walks: int = 30,
    use_primitives: bool = True,
    n_points: int = N_POINTS,
    seed: int = 0,
) -> tuple[Program, ...]:
    """Return the programs that most probably made a drawing, the best first.

    With primitives, random walks over the skeleton are proposed, and the prior decides which is
    kept, the direction of its strokes and their order. Without, one walk that goes straightest
    is taken, and the strokes go from the top left to the bottom right.

    Parameters
    ----------
    foreground : ndarray of shape (height, width), bool
        The drawing, 105 x 105 pixels for lengths in the prior's units. A blank one is parsed as
        a dot in its middle.
    n_parses : int, default=1
        The most programs that are returned. A drawing has at least one, and without primitives
        one.
    n_walks : int, default=30
        Walks over the skeleton, at least one. Noise, of more than 25 edges and dots, gets one.
    use_primitives : bool, default=True
        Whether the prior decides.
    n_points : int, default=64
        Points of each program.
    seed : int, default=0
        The result depends on this and on `foreground` alone.

    Returns
    -------
    programs : tuple of Program
        The most probable one first.

    See Also
    --------
    sksiamese.MotorProgramClassifier : Parses each exemplar and query.

    References
    ----------
    Lake, B. M., Salakhutdinov, R. and Tenenbaum, J. B. (2015). Human-level concept learning
    through probabilistic program induction. Science 350(6266), 1332-1338.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.programs import parse
    >>> drawing = np.zeros((105, 105), bool)
    >>> drawing[20:85, 50:53] = drawing[20:23, 20:85] = True  # a T
    >>> parse(drawing)
    (Program(2 strokes, 2 sub-strokes),)
    """
    foreground = np.asarray(foreground, bool)
    if not foreground.any():
        middle = (np.array([foreground.shape]) - 1) / 2
        return (Program.of([[middle]], n_points),)
    graph = skeleton_graph(foreground)
    topology = Topology.of(foreground, graph)
    walker = Walker(graph)
    dots = [[graph.nodes[dot][None]] for dot in graph.dots]
    if not use_primitives:
        paths = [_from_top_left(walker.trajectory(s)) for s in walker.deterministic_walk()]
        strokes = [substrokes(path) for path in paths] + dots
        strokes.sort(key=_start)
        return (Program.of(strokes, n_points, topology=topology),)
    rng = np.random.default_rng([seed, zlib.crc32(np.packbits(foreground).tobytes())])
    if len(graph.edges) + len(graph.dots) > N_PIECES:
        n_walks = 1
    candidates = _candidates(walker, _distinct_walks(walker, n_walks, rng), dots)
    parses = [_ordered(candidate, rng) for candidate in candidates]
    best = heapq.nlargest(n_parses, parses, key=operator.itemgetter(0))
    return tuple(Program.of(strokes, n_points, score, topology) for score, strokes in best)


def _distinct_walks(walker: Walker, n_walks: int, rng: np.random.Generator) -> list[Walk]:
    """Draw walks, and return the different ones without the directions of their strokes."""
    sharpness, start_power = rng.choice(SHARPNESS, n_walks), rng.choice(START_POWER, n_walks)
    sharpness[:N_GREEDY] = start_power[:N_GREEDY] = GREEDY
    drawn = [walker.deterministic_walk()]
    for sharp, power in zip(sharpness[1:], start_power[1:], strict=True):
        drawn.append(walker.random_walk(rng, sharpness=sharp, start_power=power))
    walks = [tuple(sorted(min(stroke, reverse(stroke)) for stroke in walk)) for walk in drawn]
    return list(dict.fromkeys(walks))


def _candidates(walker: Walker, walks: Sequence[Walk], dots: list[Stroke]) -> list[Parse]:
    """Return the parse of each walk: strokes in their better direction, from the top left on.

    Its score is of the strokes alone, not of where they start.
    """
    primitives = Primitives.load()
    taken = list(dict.fromkeys(itertools.chain(*walks)))  # walks share most of their strokes
    forward = dots + [substrokes(walker.trajectory(stroke)) for stroke in taken]
    backward = [[part[::-1] for part in reversed(stroke)] for stroke in forward]
    log_shapes = primitives.log_shapes(forward + backward).reshape(2, -1)
    strokes = [
        back if is_better else ahead
        for ahead, back, is_better in zip(
            forward, backward, log_shapes[1] > log_shapes[0], strict=True
        )
    ]
    log_shape = log_shapes.max(0)
    number_of = {stroke: number for number, stroke in enumerate(taken, len(dots))}
    parses = []
    for walk in walks:
        numbers = [*range(len(dots)), *(number_of[stroke] for stroke in walk)]
        numbers.sort(key=lambda number: _start(strokes[number]))
        drawn = [strokes[number] for number in numbers]
        score = float(log_shape[numbers].sum()) + primitives.log_counts(drawn)
        parses.append((score, drawn))
    return parses


def _ordered(parse: Parse, rng: np.random.Generator) -> Parse:
    """Return the parse in the most probable order, which its score then includes."""
    score, strokes = parse
    numbers = np.arange(len(strokes))
    if len(strokes) <= N_ALL_ORDERS:
        orders = np.array(list(itertools.permutations(numbers)))
    elif len(strokes) <= N_ORDERED:
        drawn = rng.permuted(np.tile(numbers, (N_ORDERS - 1, 1)), axis=1)
        orders = np.concatenate([numbers[None], drawn])
    else:
        orders = numbers[None]
    log_relations = Primitives.load().log_relations(strokes, orders)
    best = int(log_relations.argmax())
    return score + float(log_relations[best]), [strokes[number] for number in orders[best]]


def _from_top_left(path: np.ndarray) -> np.ndarray:
    return path if path[0].sum() <= path[-1].sum() else path[::-1]


def _start(stroke: Stroke) -> float:
    """Return how far from the top left a stroke starts."""
    return float(stroke[0][0].sum())
