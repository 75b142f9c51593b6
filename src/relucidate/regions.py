"""Activation regions as shapes: a network on a plane, with every region a true polygon."""

from relucidate.slicing import Boundary, Edges, Facet, LocalLines, Plane, Slice2D, Stopped, slice2d

__all__ = ["Boundary", "Edges", "Facet", "LocalLines", "Plane", "Slice2D", "Stopped", "slice2d"]
