from __future__ import annotations

import pytest

from splitfleet.kernels import UserError
from splitfleet.kernels.litert import LitertGpu


@pytest.mark.parametrize(
    ("name", "vendor", "generation", "compute_units"),
    [
        ("Adreno 640", "adreno", "6xx", 2),
        ("QUALCOMM Adreno(TM) 616", "adreno", "6xx", 1),
        ("Adreno (TM) 740", "adreno", "7xx", 6),
        ("Mali-G76", "mali", "bifrost3", 16),
        ("Mali-G76 MP12", "mali", "bifrost3", 12),
        ("Mali-G710 MC10 r0p0", "mali", "valhall3", 10),
        ("Mali-G71", "mali", "bifrost1", 16),
        ("ARM Mali-T880", "mali", "midgard", 8),
        ("PowerVR GE8320", "powervr", "GE8", 1),
        ("PowerVR Rogue GM9446", "powervr", "GM9", 4),
        ("PowerVR B-Series BXM-8-256", "powervr", "BXM", 4),
        ("PowerVR GT7600+", "apple", "apple3", 6),
        ("Apple A12 GPU", "apple", "apple5", 4),
        ("Apple A12X GPU", "apple", "apple5", 7),
        ("Apple G11P", "apple", "apple5", 4),
        ("G11P", "apple", "apple5", 4),
        ("Apple M1 Pro", "apple", "apple7", 16),
    ],
)
def test_names_tell_vendor_generation_and_compute_units(
    name: str, vendor: str, generation: str, compute_units: int
) -> None:
    gpu = LitertGpu.from_name(name)
    assert (gpu.name, gpu.vendor, gpu.generation, gpu.compute_units) == (name, vendor, generation, compute_units)


@pytest.mark.parametrize("name", ["Adreno 725", "Mali-G999", "Mali", "Apple A7", "Apple A42", "llvmpipe", "640", ""])
def test_an_unknown_gpu_is_refused_with_what_is_known(name: str) -> None:
    with pytest.raises(UserError, match=r"described for Adreno 750, .* 640.*Mali-T604.*GE8.*Apple A9.*G11P"):
        LitertGpu.from_name(name)


def test_compute_units_can_be_given() -> None:
    assert LitertGpu.from_name("Mali-G76", compute_units=10).compute_units == 10
    with pytest.raises(UserError, match="at least one compute unit, not 0"):
        LitertGpu.from_name("Mali-G76", compute_units=0)


def test_adreno_runs_full_waves_in_half_precision_alone() -> None:
    waves = {name: LitertGpu.from_name(name).wave_size for name in ("Adreno 640", "Adreno 540", "Mali-G76")}
    assert [waves["Adreno 640"](precision) for precision in ("fp16", "fp16_fp32", "fp32")] == [128, 64, 64]
    assert waves["Adreno 540"]("fp16") == 64
    assert waves["Mali-G76"]("fp16") == waves["Mali-G76"]("fp32") == 8
