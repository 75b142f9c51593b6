"""Planes in the space of features: through named features, points or principal components, and what part of one to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from relucidate.errors import ArgumentError, clipped, shown
from relucidate.features import is_table
from relucidate.layers import Floats
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped

_MARGIN = 0.05  # of the rows' range, around it


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the space of features: the point with coordinates (s, t) is ``origin + s u + t v``.

    Parameters
    ----------
    origin, u, v : (n_features,) encoded, in the units of the features.
    labels : what the two coordinates are.
    features : positions of the two features that are the coordinates; None for any other plane.
    same_unit : whether both coordinates have one unit, so that a picture may show angles and lengths as they are.
    projection : (2, n_features), from ``x - origin`` to coordinates; by default the nearest point of the plane.
    note : what a picture must say of the plane: at which values the other features are held.
    box : (2, 2) what to look at if nothing else is asked for: lowest and highest s, lowest and highest t.

    Raises
    ------
    ArgumentError : the vectors are not three of one length, not finite, or u and v do not span a plane.
    """

    origin: Floats
    u: Floats
    v: Floats
    labels: tuple[str, str] = ("s", "t")
    features: tuple[int, int] | None = None
    same_unit: bool = False
    projection: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    note: str = ""
    box: Floats | None = None

    def __post_init__(self) -> None:
        for name in ("origin", "u", "v"):
            object.__setattr__(self, name, _vector(getattr(self, name), name))
        if not len(self.origin) == len(self.u) == len(self.v):
            raise ArgumentError(
                f"A plane takes three vectors of one length; got {len(self.origin)}, {len(self.u)} and {len(self.v)} numbers."
            )
        size = np.hypot(self.u, self.v)
        scaled = np.stack([self.u, self.v]) / np.where(size > 0, size, 1.0)
        if np.linalg.matrix_rank(scaled) < 2:
            raise ArgumentError("The directions u and v are parallel or zero; two different directions span a plane.")
        if self.projection.size == 0:
            object.__setattr__(self, "projection", np.linalg.pinv(self.basis))

    @property
    def basis(self) -> Floats:
        """The two directions as columns (n_features, 2)."""
        return np.stack([self.u, self.v], axis=1)

    def lift(self, points: ArrayLike) -> Floats:
        """Return the features (n, n_features) of points (n, 2) of the plane."""
        at = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        return self.origin + at[:, :1] * self.u + at[:, 1:] * self.v

    def coordinates(self, x: Floats) -> Floats:
        """Return the coordinates (n, 2) of encoded rows (n, n_features), projected on the plane."""
        return (x - self.origin) @ self.projection.T

    @staticmethod
    def through(points: ArrayLike) -> Plane:
        """Return the plane through three points (3, n_features): the first is (0, 0), the others (1, 0) and (0, 1).

        Raises
        ------
        ArgumentError : there are not three points, or they lie on one line.
        """
        at = np.asarray(points, dtype=np.float64)
        if at.ndim != 2 or len(at) != 3:
            raise ArgumentError(f"A plane goes through three points (3, n_features); got an array of shape {at.shape}.")
        labels = ("towards the second point", "towards the third point")
        box = np.array([[-0.25, 1.25], [-0.25, 1.25]])
        return Plane(at[0], at[1] - at[0], at[2] - at[0], labels, note="a plane through three points", box=box)

    @staticmethod
    def of_features(net: Network | Unwrapped, a: str | int, b: str | int, at: Any = None) -> Plane:
        """Return the plane of two features, with the others held fixed.

        Parameters
        ----------
        net : the network, or a table unwrapped.
        a, b : name or position of a feature.
        at : where the others are held: an encoded row (n_features,), or a table with one row; by default, and as "mean", the
            mean row.

        Raises
        ------
        ArgumentError : a feature is unknown or has several indicators, the two are one, or there is nothing to hold the
            others at.
        """
        u, net = (net, net.network) if isinstance(net, Unwrapped) else (None, net)
        i, j = _feature(net, a), _feature(net, b)
        if i == j:
            raise ArgumentError(f"A plane needs two features; both are {clipped(net.feature_names[i])}.")
        others = net.n_features > 2
        if at is not None and not isinstance(at, str):
            origin, held = _row(net, at), "the row given"
        elif at not in (None, "mean"):
            raise ArgumentError(f"at is {clipped(at)}; expected a row of features, or 'mean'.")
        elif u is not None:
            origin, held = (
                u.sample.mean.copy(),
                f"{'its mean' if net.n_features == 3 else 'their means'}{u.sample.caveat}",
            )
        elif others:
            raise ArgumentError(
                f"{_others(net.n_features - 2).capitalize()} must be held somewhere: give a row as `at`, or an unwrapped table "
                "in place of the network for its mean row."
            )
        else:
            origin, held = np.zeros(net.n_features), ""
        origin[[i, j]] = 0.0
        axes = np.zeros((2, net.n_features))
        axes[[0, 1], [i, j]] = 1.0
        return Plane(
            origin,
            axes[0],
            axes[1],
            (net.feature_names[i], net.feature_names[j]),
            (i, j),
            not net.features.named,
            projection=axes,
            note=f"{_others(net.n_features - 2)} {'is' if net.n_features == 3 else 'are'} held at {held}"
            if others
            else "",
        )

    @staticmethod
    def principal(u: Unwrapped) -> Plane:
        """Return the plane of the first two principal components of the standardised rows, through their mean.

        Raises
        ------
        ArgumentError : fewer than two directions vary.

        Notes
        -----
        Coordinates are sums of standardised features with weights of length 1; the largest weight is positive. Labels give
        the share of the variance. Rows count by their weights.
        """
        s = u.sample
        sd = np.where(s.sd > 0, s.sd, 1.0)
        w = np.sqrt(s.weights / s.weights.sum())
        z = (s.x - s.mean) / sd * w[:, None]
        variance, vectors = np.linalg.eigh(z.T @ z)
        if len(variance) < 2 or not variance[-2] > 1e-12 * variance.sum():
            raise ArgumentError("The rows vary in fewer than two directions, so that they have no plane. Give one.")
        loading = vectors[:, [-1, -2]].T
        loading = loading * np.sign(loading[[0, 1], np.abs(loading).argmax(axis=1)])[:, None]
        share = variance[[-1, -2]] / variance.sum()
        labels = [f"principal component {i} ({p:.0%})" for i, p in enumerate(share, 1)]
        said = [f"component {i}: {_loadings(row, u.network)}" for i, row in enumerate(loading, 1)]
        return Plane(
            s.mean,
            loading[0] * sd,
            loading[1] * sd,
            (labels[0], labels[1]),
            same_unit=True,
            projection=loading / sd,
            note=f"through the mean row{s.caveat}; {'; '.join(said)}",
        )


def _others(n: int) -> str:
    return f"the other {n} features" if n > 1 else "the other feature"


def plane_of(net: Network, u: Unwrapped | None, plane: Any, at: Any) -> Plane:
    """Return the plane that was asked for, or the one that is meant where none was.

    Parameters
    ----------
    net, u : the network, and the table that was unwrapped with it, if there is one.
    plane : a `Plane`; two features by name or position; vectors (origin, u, v) of encoded features; or None.
    at : where two features are named, the row at which the others are held.

    Raises
    ------
    ArgumentError : the plane does not fit the network, is none of these, or is missing.

    Notes
    -----
    Where none was asked for: the two features of a network that has two, else the first two principal components of the table.
    """
    source = net if u is None else u
    if at is not None and not _names_features(plane) and not (plane is None and net.n_features == 2):
        raise ArgumentError("at holds the other features where two are named as `plane`; leave it out here.")
    if isinstance(plane, Plane):
        found = plane
    elif plane is None and net.n_features == 2:
        found = Plane.of_features(net, 0, 1, np.zeros(2) if at is None else at)
    elif plane is None and net.n_features < 2:
        raise ArgumentError("A network of one feature has no plane: draw its values along a line.")
    elif plane is None and u is not None:
        found = Plane.principal(u)
    elif plane is None:
        raise ArgumentError(
            f"The network has {net.n_features} features: name two of them as `plane`, give a Plane, or an unwrapped table in "
            "place of the network for its first two principal components."
        )
    elif _names_features(plane):
        found = Plane.of_features(source, plane[0], plane[1], at)
    elif isinstance(plane, tuple | list) and len(plane) == 3 and all(np.ndim(part) == 1 for part in plane):
        found = Plane(*plane)
    else:
        raise ArgumentError(
            f"plane is {clipped(plane)}; expected a Plane, two features, or three vectors (origin, u, v). Plane.through(points) "
            "takes three points."
        )
    if len(found.origin) != net.n_features:
        raise ArgumentError(f"The plane lies among {len(found.origin)} features; the network has {net.n_features}.")
    return found


def box_of(plane: Plane, u: Unwrapped | None, box: Any) -> Floats:
    """Return the box (2, 2) of a plane to look at: lowest and highest of either coordinate.

    Parameters
    ----------
    plane, u : the plane, and the table that was unwrapped, if there is one.
    box : ((low, high), (low, high)), or one (low, high) for both coordinates. By default the plane's own, else the range of
        the table's rows with a margin of 5 %.

    Raises
    ------
    ArgumentError : the box is neither, or is missing.
    """
    if box is None:
        if plane.box is not None:
            return np.array(plane.box, dtype=np.float64)
        if u is None:
            raise ArgumentError(
                "box is missing: give ((low, high), (low, high)) of the two coordinates, or unwrap a table."
            )
        at = plane.coordinates(u.sample.x)
        low, high = at.min(axis=0), at.max(axis=0)
        width = high - low
        spread = np.where(width > 0, width * _MARGIN, np.maximum(np.abs(low), 1.0) / 2)
        return np.stack([low - spread, high + spread], axis=1)
    try:
        given = np.array(box, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.zeros(0)
    if given.shape == (2,):
        given = np.stack([given, given])
    if given.shape != (2, 2) or not np.isfinite(given).all() or not (given[:, 0] < given[:, 1]).all():
        raise ArgumentError(f"box is {clipped(box)}; expected ((low, high), (low, high)), each low below its high.")
    return given


def _names_features(plane: Any) -> bool:
    return (
        isinstance(plane, tuple | list)
        and len(plane) == 2
        and all(isinstance(p, str | int | np.integer) for p in plane)
    )


def _vector(values: Any, name: str) -> Floats:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ArgumentError(f"{name} is {clipped(values)}; expected a vector of finite numbers, one per feature.")
    return array


def _feature(net: Network, feature: str | int) -> int:
    name, indices = net.features.find(feature)
    if len(indices) > 1:
        names = [net.feature_names[i] for i in indices]
        raise ArgumentError(f"{clipped(name)} has {len(indices)} indicators; name one of them: {shown(names, 12)}.")
    return indices[0]


def _row(net: Network, at: Any) -> Floats:
    if is_table(at):
        x = net.features.encode(at)
        if len(x) != 1:
            raise ArgumentError(f"at is a table of {len(x):,} rows; give one row.")
        return x[0].copy()
    row = _vector(np.asarray(at, dtype=np.float64).reshape(-1), "at")
    if len(row) != net.n_features:
        raise ArgumentError(f"at has {len(row)} numbers; the network takes {net.n_features} features.")
    return row


def _loadings(weights: Floats, net: Network) -> str:
    order = np.argsort(-np.abs(weights), kind="stable")[:2]
    told = [i for i in order if abs(weights[i]) >= 0.1]
    rest = int((np.abs(np.delete(weights, told)) > 1e-12).sum())
    said = " ".join(f"{'−' if weights[i] < 0 else '+'} {abs(weights[i]):.2f} {net.feature_names[i]}" for i in told)
    return said.removeprefix("+ ") + (f" and {rest} smaller" if rest else "")
