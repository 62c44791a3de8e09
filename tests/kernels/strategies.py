"""Operators and devices drawn at random, primes and ones and sizes beside a tile among them."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from splitfleet.kernels import EPILOGUES, Conv2d, DepthwiseConv2d, Device, Linear, Operator, Pool2d, UserError

_SIZES = st.one_of(st.sampled_from([1, 3, 4, 5, 7, 8, 12, 13, 16, 17, 20, 31, 36, 52]), st.integers(1, 70))
_EPILOGUES = st.sampled_from(EPILOGUES)


def linears() -> st.SearchStrategy[Operator]:
    return st.builds(Linear, rows=_SIZES, in_features=_SIZES, out_features=_SIZES, epilogue=_EPILOGUES)


@st.composite
def _windows(draw: st.DrawFn) -> dict[str, int]:
    side, kernel, pad = st.integers(1, 12), st.sampled_from([1, 2, 3, 5]), st.integers(0, 2)
    strategies = {"height": side, "width": side, "kernel_h": kernel, "kernel_w": kernel, "pad_h": pad, "pad_w": pad}
    return {**{name: draw(strategy) for name, strategy in strategies.items()}, "stride": draw(st.integers(1, 3))}


@st.composite
def windowed(draw: st.DrawFn) -> Operator:
    window, channels = draw(_windows()), draw(_SIZES)
    try:
        match draw(st.sampled_from(["conv2d", "conv2d", "depthwise", "pool"])):
            case "conv2d":
                inputs, epilogue = draw(st.integers(1, 20)), draw(_EPILOGUES)
                return Conv2d(**window, in_channels=inputs, out_channels=channels, epilogue=epilogue)
            case "depthwise":
                return DepthwiseConv2d(**window, channels=channels, epilogue=draw(_EPILOGUES))
            case _:
                return Pool2d(**window, channels=channels, mode=draw(st.sampled_from(["max", "avg"])))
    except UserError:
        assume(False)  # the kernel is larger than the padded input, or the padding as large as the window
        raise


def operators() -> st.SearchStrategy[Operator]:
    return st.one_of(linears(), windowed())


def devices() -> st.SearchStrategy[Device]:
    work_group = st.sampled_from([1, 16, 64, 256, 1024])
    names = ["a GPU", "Adreno(TM) 640", "Adreno(TM) 530", "Mali-G76", "Mali-T880", "PowerVR Rogue GE8320", "NVIDIA GPU"]
    return st.builds(
        Device,
        name=st.sampled_from(names),
        vendor=st.just("a vendor"),
        compute_units=st.sampled_from([1, 2, 6, 18]),
        max_work_group_size=work_group,
        max_work_item_sizes=st.tuples(work_group, work_group, st.just(64)),
        preferred_vector_float=st.sampled_from([1, 4, 8]),
        max_alloc_bytes=st.just(2**30),
        svm_polling=st.booleans(),
        in_kernel_signal=st.booleans(),
        extensions=st.sampled_from([frozenset[str](), frozenset({"cl_khr_fp16"})]),
        image2d_max=st.sampled_from([(0, 0), (4096, 4096)]),
    )
