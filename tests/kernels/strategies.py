"""Operators and devices drawn at random, primes and ones and sizes beside a tile among them."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from splitfleet.kernels import Conv2d, Device, Linear, Operator, UserError

_SIZES = st.one_of(st.sampled_from([1, 3, 4, 5, 7, 8, 12, 13, 16, 17, 20, 31, 36, 52]), st.integers(1, 70))


def linears() -> st.SearchStrategy[Operator]:
    return st.builds(Linear, rows=_SIZES, in_features=_SIZES, out_features=_SIZES)


@st.composite
def convolutions(draw: st.DrawFn) -> Operator:
    side, kernel = st.integers(1, 12), st.sampled_from([1, 2, 3, 5])
    try:
        return Conv2d(
            height=draw(side),
            width=draw(side),
            in_channels=draw(st.integers(1, 20)),
            out_channels=draw(_SIZES),
            kernel_h=draw(kernel),
            kernel_w=draw(kernel),
            stride=draw(st.integers(1, 3)),
            pad_h=draw(st.integers(0, 2)),
            pad_w=draw(st.integers(0, 2)),
        )
    except UserError:
        assume(False)  # the kernel is larger than the padded input
        raise


def operators() -> st.SearchStrategy[Operator]:
    return st.one_of(linears(), convolutions())


def devices() -> st.SearchStrategy[Device]:
    work_group = st.sampled_from([1, 16, 64, 256, 1024])
    return st.builds(
        Device,
        name=st.just("a GPU"),
        vendor=st.just("a vendor"),
        compute_units=st.sampled_from([1, 2, 6, 18]),
        max_work_group_size=work_group,
        max_work_item_sizes=st.tuples(work_group, work_group, st.just(64)),
        preferred_vector_float=st.sampled_from([1, 4, 8]),
        max_alloc_bytes=st.just(2**30),
        svm_polling=st.booleans(),
        in_kernel_signal=st.booleans(),
    )
