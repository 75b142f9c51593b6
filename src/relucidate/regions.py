"""Activation regions as shapes: one as a polytope with its neighbours, and a network on a plane as polygons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from relucidate.boundaries import Boundary, Edges
from relucidate.errors import ArgumentError, clipped
from relucidate.facets import Neighbours, Region, neighbours_of, polytope_of
from relucidate.network import Network, Patterns
from relucidate.planes import Plane
from relucidate.polytope import Empty, Facets, Interior, Polytope, Undecided
from relucidate.slicing import Facet, LocalLines, Slice2D, Stopped, slice2d
from relucidate.unwrapping import Unwrapped

__all__ = [
    "Boundary",
    "Edges",
    "Empty",
    "Facet",
    "Facets",
    "Interior",
    "LocalLines",
    "Neighbours",
    "Plane",
    "Polytope",
    "Region",
    "Slice2D",
    "Stopped",
    "Undecided",
    "neighbours",
    "polytope",
    "slice2d",
]


def polytope(net_or_u: Network | Unwrapped, x: Any, box: Any = None) -> Region:
    """Return the activation region of one row as a polytope, with facets that know their neurons.

    Parameters
    ----------
    net_or_u : a network, or a table unwrapped: then features range as they do in the table.
    x : one row, an array or table as `Features.encode` takes it, or one pattern: ``u.patterns[i]``.
    box : (lower, upper), numbers or arrays with one per encoded feature, infinite where there is no edge; or "data": the
        range of the rows that were unwrapped, without edges for features that never vary. By default none.

    Raises
    ------
    ArgumentError : not exactly one row or pattern; the box does not fit. DataError : the row does not fit.

    Notes
    -----
    The region is closed: a neuron is on iff its preactivation is above 0, so a point on a facet may have the neighbour's
    pattern. Hyperplanes are facets or redundant by proof, see `Polytope.facets`.
    """
    u = net_or_u if isinstance(net_or_u, Unwrapped) else None
    net: Any = net_or_u if u is None else u.network
    if not isinstance(net, Network):
        raise ArgumentError(
            f"The first argument is a {type(net).__name__}; expected a Network or an Unwrapped. Load the model first."
        )
    at = x
    if isinstance(x, Patterns):
        if len(x) != 1 or x.n_bits != net.n_bits:
            raise ArgumentError(
                f"x holds {len(x):,} patterns of {x.n_bits:,} bits; expected one of {net.n_bits:,}. Index it: patterns[i]."
            )
    else:
        rows = net.features.encode(np.atleast_2d(x) if isinstance(x, np.ndarray | list | tuple) else x)
        if len(rows) != 1:
            raise ArgumentError(f"x has {len(rows):,} rows; expected one. Index it: X[i:i + 1].")
        at = rows[0]
    if isinstance(box, str):
        if box != "data" or u is None:
            raise ArgumentError(
                f"box is {clipped(box)}; expected (lower, upper), or 'data' where a table was unwrapped and given."
            )
        low, high = u.sample.x.min(axis=0), u.sample.x.max(axis=0)
        box = (np.where(low < high, low, -np.inf), np.where(low < high, high, np.inf))
    return polytope_of(net, at, box, None if u is None else u.sample.sd)


def neighbours(net_or_u: Network | Unwrapped, x: Any, box: Any = None) -> Neighbours:
    """Return the activation regions across the facets of the region of one row.

    Parameters
    ----------
    net_or_u, x, box : as for `polytope`. With a table unwrapped, neighbours know their region in it.

    Raises
    ------
    ArgumentError : as `polytope`, or nothing is strictly inside the region: the row lies where neurons switch.

    Notes
    -----
    Of a facet cut by the box, what lies across its part within the box; see `neighbours_of`.
    """
    found = neighbours_of(polytope(net_or_u, x, box))
    if not isinstance(net_or_u, Unwrapped):
        return found
    region = net_or_u.regions_of_patterns(found.patterns).astype(np.intp)
    return replace(found, region_of=region, count=np.where(region >= 0, net_or_u.count[np.maximum(region, 0)], 0))
