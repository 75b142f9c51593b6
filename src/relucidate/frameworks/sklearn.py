"""scikit-learn: multilayer perceptrons with the pipelines around them.

Preprocessing is followed symbolically. Every intermediate column is either a column of the user's table, untouched but
for the value that fills its gaps, or an affine combination of features in the user's units (and, after a scaler that
clips, of clip neurons). The combination that reaches the perceptron is folded into its first layer.

None, NaN and NA are one and the same here: a cell without a value.
"""

from __future__ import annotations

import sys
from typing import Any

from relucidate.errors import ArgumentError
from relucidate.frameworks.reading import Options, Original, Reading
from relucidate.frameworks.sklearn_columns import Front, Raw
from relucidate.frameworks.sklearn_live import Live, columns_of
from relucidate.frameworks.sklearn_perceptron import classes_of, head_of, layers_of, link_of, notes_of, outputs_of
from relucidate.frameworks.sklearn_steps import sklearn_class
from relucidate.network import Network, Provenance


def recognises(model: Any) -> bool:
    """Return whether `model` is an estimator of scikit-learn or derives from one; scikit-learn is not imported."""
    return "sklearn" in sys.modules and sklearn_class(type(model)) is not None


def read(model: Any, options: Options) -> Reading:
    """Return the network of a fitted estimator, and the estimator itself to prove it against.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor with relu or identity hidden layers; alone, in a Pipeline, in a
        TransformedTargetRegressor with a linear transformer, or as the best estimator of a search.
    options : `link` must be the estimator's own if given; `feature_names` name the columns of an estimator that was
        fitted without names.

    Raises
    ------
    UnsupportedModelError : a step is not known or not piecewise linear; the message names it.
    ModelError : a step is not fitted.
    ArgumentError : an option contradicts the estimator.
    """
    import sklearn

    options.refuse("a scikit-learn estimator", "inputs", "output", "architecture", "normalise")
    columns = columns_of(model, options)
    front = Front(columns)
    head = head_of(model, [Raw(i) for i in range(len(columns.names))], front, type(model).__name__)
    link = link_of(head.mlp)
    if options.link is not None and options.link != link:
        raise ArgumentError(
            f"link={options.link!r} contradicts the {type(head.mlp).__name__}, whose link is {link!r}. Leave it out."
        )
    first = front.lowered(head.cells)
    network = Network(
        layers=(*first.layers, *layers_of(head, first)),
        features=first.features,
        link=link,
        classes=classes_of(head.mlp),
        outputs=outputs_of(head.mlp),
        provenance=Provenance(
            source=f"scikit-learn {type(model).__name__}",
            operators=tuple(front.operators.items()),
            notes=(*head.notes, *notes_of(head.mlp, first.features, columns)),
        ),
    )
    probe = front.probe(network)
    name = f"scikit-learn {sklearn.__version__}"
    live = Live(model, head.mlp, columns)

    def tolerance(table: Any) -> float:
        return live.tolerance(table, head, first)

    originals = [Original(name, live.prediction, "predict", tolerance)]
    if link != "identity":  # probabilities saturate and would hide a difference
        originals.append(Original(f"{name}, before the link", live.decision, "decision", tolerance))
    return Reading(network, tuple(originals), probe)
