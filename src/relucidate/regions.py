"""Activation regions as shapes: a network on a plane, with every region a true polygon."""

from relucidate.boundaries import Boundary, Edges
from relucidate.planes import Plane
from relucidate.slicing import Facet, LocalLines, Slice2D, Stopped, slice2d

__all__ = ["Boundary", "Edges", "Facet", "LocalLines", "Plane", "Slice2D", "Stopped", "slice2d"]
