"""What hypothesis draws: networks of one operator, for each operator, and small graphs."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.compiler.filters import Conv, FullyConnected, TransposeConv, Weights, Window
from tests.compiler.harness import MODES, Case, make_cases
from tests.compiler.layers import Arithmetic, Concat, Mean, Pad, Pool, Requantize, Reshape, Resize, Unary
from tests.compiler.networks import Layer, Network

SIDES = st.one_of(st.integers(1, 6), st.integers(1, 24))
CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 23, 24, 32, 33, 40])
SHAPES = st.tuples(SIDES, SIDES, CHANNELS)
SCALES = st.sampled_from([1 / 255, 0.05, 2.0**-5, 6 / 255, 1e-3, 3.7])
ZERO_POINTS = st.one_of(st.sampled_from([-128, 0, 127, -1]), st.integers(-128, 127), st.integers(-40, 40))
FUSED = st.sampled_from(["none", "none", "none", "relu", "relu6", "relu_n1_to_1"])
SEEDS = st.integers(0, 2**16)
STRIDES = st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (3, 1)])
SIZES = st.one_of(
    st.just((1, 1)), st.just((3, 3)), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.just((7, 7))
)
DILATIONS = st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (1, 3), (2, 1)])
FACTORS = st.sampled_from([1.0, 1.0, 0.25, 0.01, 2.0**-3, 3.0, 60.0])
RELATIVE = st.sampled_from([0.0, 0.0, 1.0, 0.5, 0.37, 1.9, 8.0, 0.02])
"""Scale of an output over that of its input; 0 keeps the quantization."""

WEIGHTS = st.builds(
    Weights,
    scaling=st.sampled_from(["plain", "plain", "dyadic", "tiny", "large", "dead"]),
    per_channel=st.booleans(),
    bias=st.sampled_from([True, True, True, False]),
    zero_point=ZERO_POINTS,
    scale=SCALES,
)
WINDOWS = st.builds(Window, size=SIZES, stride=STRIDES, same=st.booleans(), dilation=DILATIONS)
POOL_WINDOWS = st.builds(Window, size=SIZES, stride=STRIDES, same=st.booleans())
ONE = Window((1, 1))
PAIRS = st.tuples(st.integers(0, 3), st.integers(0, 3))
BORDERS = st.tuples(st.just((0, 0)), PAIRS, PAIRS, st.sampled_from([(0, 0), (0, 0), (1, 2), (0, 1)]))

HEALTHY = st.builds(
    Weights,
    scaling=st.sampled_from(["plain", "plain", "plain", "dyadic", "dead"]),
    per_channel=st.booleans(),
    zero_point=st.sampled_from([-128, 0, 5, -30]),
    scale=st.sampled_from([0.05, 2.0**-5, 6 / 255]),
)
"""For networks of several layers: the next one must have something to work on."""

CONVOLUTIONS: SearchStrategy[Layer] = st.builds(
    Conv, filters=CHANNELS, window=st.one_of(WINDOWS, st.just(ONE)), activation=FUSED, weights=WEIGHTS
)
DEPTHWISE: SearchStrategy[Layer] = st.builds(
    Conv, multiplier=st.sampled_from([1, 1, 1, 2, 3, 4]), window=WINDOWS, activation=FUSED, weights=WEIGHTS
)
PADS: SearchStrategy[Layer] = st.builds(
    Pad, pairs=BORDERS, value=st.one_of(st.none(), st.none(), st.floats(-4, 4, width=16))
)
FOLDED_PADS: SearchStrategy[Layer] = st.builds(
    Pad, pairs=st.tuples(st.just((0, 0)), PAIRS, PAIRS, st.just((0, 0)))
)
POOLS: SearchStrategy[Layer] = st.builds(
    Pool, kind=st.sampled_from(["MAX_POOL_2D", "AVERAGE_POOL_2D"]), window=POOL_WINDOWS, activation=FUSED
)
AXES = st.sampled_from([(1, 2), (1, 2), (1,), (2,), (3,), (1, 2, 3), (2, 3), (1, 3)])
MEANS: SearchStrategy[Layer] = st.builds(
    Mean, axes=AXES, keep=st.booleans(), scale=RELATIVE, zero_point=ZERO_POINTS
)
KEPT_MEANS: SearchStrategy[Layer] = st.builds(Mean, scale=RELATIVE, zero_point=ZERO_POINTS)
KINDS = st.sampled_from(["ADD", "SUB", "MUL"])
CONSTANTS: SearchStrategy[Layer] = st.builds(
    Arithmetic,
    kind=KINDS,
    other=st.sampled_from(["constant", "constant", "constant", "twin", "pooled"]),
    axes=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    first=st.booleans(),
    activation=FUSED,
    zero_point=ZERO_POINTS,
    factor=FACTORS,
)
RESIDUALS: SearchStrategy[Layer] = st.builds(
    Arithmetic,
    kind=st.sampled_from(["ADD", "ADD", "SUB", "MUL"]),
    other=st.just("earlier"),
    first=st.booleans(),
    activation=FUSED,
    zero_point=ZERO_POINTS,
    pick=st.integers(0, 5),
)
CONCATS: SearchStrategy[Layer] = st.builds(
    Concat,
    axis=st.sampled_from([3, 3, 1, 2]),
    count=st.integers(2, 4),
    pick=st.integers(0, 8),
    first=st.booleans(),
)
UNARY: SearchStrategy[Layer] = st.builds(
    Unary,
    kind=st.sampled_from(["RELU", "RELU6", "LOGISTIC", "HARD_SWISH"]),
    scale=RELATIVE,
    zero_point=ZERO_POINTS,
)
SOFTMAXES: SearchStrategy[Layer] = st.builds(
    Unary, kind=st.just("SOFTMAX"), beta=st.sampled_from([1.0, 1.0, 0.5, 3.0, 0.01])
)
RESIZES: SearchStrategy[Layer] = st.builds(
    Resize,
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    kind=st.sampled_from(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]),
    corners=st.booleans(),
    centers=st.just(False),
) | st.builds(
    Resize,
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    kind=st.sampled_from(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]),
    centers=st.just(True),
)
TRANSPOSED: SearchStrategy[Layer] = st.builds(
    TransposeConv,
    filters=CHANNELS,
    window=st.builds(Window, size=SIZES, stride=STRIDES, same=st.booleans()),
    weights=WEIGHTS,
)
FULLY_CONNECTED: SearchStrategy[Layer] = st.builds(
    FullyConnected,
    units=st.one_of(st.integers(1, 12), st.integers(1, 70)),
    view=st.sampled_from(["flat", "direct", "positions", "kept"]),
    activation=FUSED,
    weights=WEIGHTS,
)
REQUANTIZES: SearchStrategy[Layer] = st.builds(
    Requantize, scale=st.sampled_from([0.5, 0.37, 1.9, 3.0]), zero_point=ZERO_POINTS
)

GRAPH_CONVOLUTIONS = st.builds(Conv, filters=st.integers(1, 12), window=WINDOWS, activation=FUSED, weights=HEALTHY)
GRAPH_DEPTHWISE = st.builds(
    Conv, multiplier=st.sampled_from([1, 1, 1, 2]), window=WINDOWS, activation=FUSED, weights=HEALTHY
)
POINTWISE = st.builds(Conv, filters=st.integers(1, 12), window=st.just(ONE), activation=FUSED, weights=HEALTHY)
RESHAPES = st.builds(Reshape, view=st.sampled_from(["column", "row", "swapped", "pixel", "wide"]))

OPERATORS: dict[str, SearchStrategy[tuple[Layer, ...]]] = {
    "convolution": st.tuples(CONVOLUTIONS),
    "padded": st.tuples(FOLDED_PADS, st.one_of(CONVOLUTIONS, DEPTHWISE, POOLS)),
    "depthwise": st.tuples(DEPTHWISE),
    "fully_connected": st.tuples(FULLY_CONNECTED),
    "arithmetic": st.tuples(CONSTANTS),
    "pool": st.tuples(POOLS),
    "mean": st.tuples(MEANS),
    "pad": st.tuples(PADS),
    "concatenation": st.tuples(UNARY, CONCATS),
    "softmax": st.tuples(SOFTMAXES),
    "unary": st.tuples(UNARY),
    "requantize": st.tuples(REQUANTIZES),
    "resize": st.tuples(RESIZES),
    "reshape": st.tuples(POINTWISE, RESHAPES, POINTWISE),
    "transpose_conv": st.tuples(TRANSPOSED),
}
"""Families of operators: each a network of the one operator, and of what it needs around it."""


def networks(
    layers: SearchStrategy[tuple[Layer, ...]], dtype: str = "int8", shapes: SearchStrategy[object] = SHAPES
) -> SearchStrategy[Network]:
    """Networks of given layers with any input."""
    return st.builds(
        Network,
        shape=shapes,
        layers=layers,
        dtype=st.just(dtype),
        scale=SCALES,
        zero_point=ZERO_POINTS,
        edges=st.sampled_from(["none"] * 6 + ["float32", "uint8"]),
        seed=SEEDS,
    )


GRAPH_LAYERS = st.one_of(
    GRAPH_CONVOLUTIONS,
    POINTWISE,
    GRAPH_DEPTHWISE,
    GRAPH_DEPTHWISE,
    POOLS,
    RESIDUALS,
    RESIDUALS,
    CONCATS,
    UNARY,
    FOLDED_PADS,
    CONSTANTS,
    st.builds(Resize, size=st.tuples(st.integers(1, 12), st.integers(1, 12))),
    st.builds(TransposeConv, filters=st.integers(1, 9), window=st.just(Window((2, 2), (2, 2))), weights=HEALTHY),
    st.builds(FullyConnected, units=st.integers(1, 9), view=st.just("positions"), weights=HEALTHY),
    RESHAPES,
)
LAST_LAYERS = st.lists(st.one_of(MEANS, FULLY_CONNECTED, SOFTMAXES, KEPT_MEANS), max_size=1).map(tuple)


@st.composite
def graphs(draw: st.DrawFn, dtype: str = "int8") -> Network:
    """Small graphs of 3 to 8 layers: chains, residual sums, concatenations, values with several consumers."""
    middle = draw(st.lists(GRAPH_LAYERS, min_size=2, max_size=7))
    layers = (*middle, *draw(LAST_LAYERS))
    back = draw(st.tuples(*(st.sampled_from([0, 0, 0, 0, 1, 2]) for _ in layers)))
    network = draw(networks(st.just(layers), dtype, st.tuples(SIDES, SIDES, st.integers(1, 9))))
    return Network(
        network.shape,
        layers,
        back,
        network.dtype,
        network.scale,
        network.zero_point,
        network.edges,
        seed=network.seed,
    )


def examples(strategy: SearchStrategy[Network], count: int, start: int = 0) -> list[Network]:
    """Different networks that a strategy draws, the same every time.

    A C compiler takes many at once for the price of a few, so that tests collect first and compare afterwards.
    Hypothesis varies what it drew before; only every third is taken, which differ more.

    Args:
        strategy: Of networks.
        count: How many.
        start: Another number gives other networks.
    """
    found: dict[str, Network] = {}

    @seed(start)
    @settings(
        max_examples=6 * count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(network: Network) -> None:
        found[repr(network)] = network

    collect()
    return list(found.values())[2::3][:count]


def operator_cases(family: str, dtype: str, count: int, start: int = 0) -> list[Case]:
    """Networks of one operator, in one memory mode each, the modes in turn."""
    found = examples(networks(OPERATORS[family], dtype), count, start)
    return [
        case
        for number, network in enumerate(found)
        for case in make_cases(
            f"{family}_{dtype}_{number}", network.model(), note=repr(network), modes=[MODES[-1 - number % 3]]
        )
    ]


def graph_cases(dtype: str, count: int, start: int = 0) -> list[Case]:
    """Small graphs, in all memory modes."""
    return [
        case
        for number, network in enumerate(examples(graphs(dtype), count, start))
        for case in make_cases(f"graph_{dtype}_{number}", network.model(), note=repr(network), inputs=2)
    ]
