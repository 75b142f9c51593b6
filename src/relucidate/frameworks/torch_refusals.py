"""What is said of the PyTorch operators that are no piecewise-linear functions, or are not read."""

from __future__ import annotations

from relucidate.frameworks.heads import SMOOTH
from relucidate.frameworks.torch_values import named

_KNOWN = (
    "relucidate unwraps networks of affine layers and ReLU, LeakyReLU, PReLU, Hardtanh, ReLU6, abs, max or min. Rewrite "
    "this step with these."
)
_ATTENTION = "Attention multiplies values that depend on the input, so that no exact local linear models exist."
_ROWS = (
    "It divides by a norm of the values that enter it, which is not piecewise linear. Train with batch normalisation, "
    "whose running statistics are constants, or without normalisation."
)
_RECURRENT = "Its gates are smooth, so that no exact local linear models exist; train a feed-forward network with ReLU."
_STAIRS = "Its output is a staircase or jumps, not a continuous piecewise-linear function."
GATES = f"a product of two tensors that both depend on the input (a gate, attention). {SMOOTH}"
ATTENDS = f"a matrix product of two tensors that both depend on the input (attention). {SMOOTH}"
STATISTICS = (
    "it normalises by statistics of the values that enter it (no running statistics are kept), so that answers are not "
    "piecewise linear, or depend on the other rows. Train with batch normalisation that tracks running statistics."
)
_ORDER = "Sorting is not read; write max, min, amax or amin where one value is needed."
REMEDIES = {
    **named(
        "gelu silu mish elu selu celu softplus softsign tanh hardswish erf square sqrt rsqrt pow sin cos log1p expm1",
        SMOOTH,
    ),
    **named("log2 log10 reciprocal log_sigmoid logsumexp cdist prod cosine_similarity tanhshrink", SMOOTH),
    **named("layer_norm group_norm native_layer_norm native_group_norm rms_norm norm", _ROWS),
    **named("linalg_vector_norm var std var_mean std_mean local_response_norm", _ROWS),
    **named("scaled_dot_product_attention _native_multi_head_attention", _ATTENTION),
    **named("lstm gru lstm_cell gru_cell", _RECURRENT),
    **named(
        "rnn_relu rnn_tanh rnn_relu_cell rnn_tanh_cell",
        "Recurrent layers are not read; write the steps out with nn.Linear and ReLU.",
    ),
    **named("sign floor ceil round trunc fmod remainder heaviside hardshrink sgn bucketize", _STAIRS),
    **named("batch_norm instance_norm", STATISTICS),
    **named("argmax argmin", "It gives positions, not scores; let forward() return the scores."),
    **named("sort topk kthvalue median argsort", _ORDER),
    **named(
        "embedding embedding_bag one_hot",
        "It looks up whole numbers; pass one-hot columns through nn.Linear instead.",
    ),
    **named("glu bilinear", "It multiplies values that depend on the input, which is not piecewise linear."),
}


def remedy(op: str) -> str:
    """Return what to do about an operator that is not read."""
    if "quant" in op:
        return "Load the network before quantisation."
    if op in ("cond", "while_loop", "map_impl"):
        return "Control flow that depends on the input is not read; write it with relu, clamp, maximum or minimum."
    return REMEDIES.get(op, _KNOWN)
