"""The GPUs whose dispatch by the LiteRT GPU delegate is described, by name, with what its rules ask of a GPU.

Sources, all in github.com/google-ai-edge/LiteRT:
* models, generations and compute units: tflite/delegates/gpu/common/gpu_info.cc at commit 19dc3372;
* waves of Adreno: the same file; 32 threads on PowerVR and Apple are the delegate's own work-groups there.

Widths of Mali's warps are Arm's published ones, limits of work-groups are those that the vendors' OpenCL drivers
report; both are outside the delegate. Compute units of Mali and PowerVR are the delegate's approximation where the
name does not tell the cores ("Mali-G76 MP12" does): through OpenCL the delegate sees the real number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from splitfleet.kernels.errors import UserError

PRECISIONS = ("fp16", "fp16_fp32", "fp32")
"""The delegate's calculation precisions: all in half, sums in float, all in float."""

_ADRENO_UNITS = {
    750: 6, 740: 6, 730: 4,
    685: 4, 680: 4, 675: 4, 660: 3, 650: 3, 640: 2, 630: 2,
    620: 1, 618: 1, 616: 1, 615: 1, 612: 1, 610: 1, 605: 1,
    540: 4, 530: 4, 512: 2, 510: 2, 509: 2, 508: 1, 506: 1, 505: 1, 504: 1,
    430: 4, 420: 4, 418: 2, 405: 1,
    330: 4, 320: 2, 308: 1, 306: 1, 305: 1, 304: 1,
}  # fmt: skip

# Model: generation, approximate compute units, warp width, largest work-group.
_MALI = {
    **dict.fromkeys(
        ("T604", "T622", "T624", "T628", "T658", "T678", "T720", "T760", "T820", "T830", "T860", "T880"),
        ("midgard", 8, 1, 256),
    ),
    **dict.fromkeys(("G31", "G51", "G71"), ("bifrost1", 16, 4, 384)),
    "G52": ("bifrost2", 16, 8, 384),
    "G72": ("bifrost2", 16, 4, 384),
    "G76": ("bifrost3", 16, 8, 384),
    "G57": ("valhall1", 6, 16, 512),
    "G77": ("valhall1", 16, 16, 512),
    "G68": ("valhall2", 6, 16, 512),
    "G78": ("valhall2", 16, 16, 512),
    **dict.fromkeys(("G310", "G510", "G610"), ("valhall3", 6, 16, 1024)),
    "G710": ("valhall3", 10, 16, 1024),
    "G715": ("valhall4", 10, 16, 1024),
}

# Series: compute units. One cluster in the small GE8xxx; elsewhere the delegate's default.
_POWERVR_UNITS = {
    "GE8": 1, "GM9": 4, "Rogue": 4,
    "AXE": 4, "AXM": 4, "AXT": 4, "BXE": 4, "BXM": 4, "BXS": 4, "BXT": 4, "CXT": 4, "DXT": 4,
}  # fmt: skip

# Chip: Metal GPU family, compute units.
_APPLE = {
    "A9": (3, 6), "A9X": (3, 12), "A10": (3, 6), "A10X": (3, 12), "A11": (4, 3),
    "A12": (5, 4), "A12X": (5, 7), "A12Z": (5, 8), "A13": (6, 4), "A14": (7, 4), "A15": (8, 5), "A16": (8, 5),
    "A17 Pro": (9, 6), "A18": (9, 5), "A18 Pro": (9, 6),
    "M1": (7, 8), "M1 Pro": (7, 16), "M1 Max": (7, 32), "M1 Ultra": (7, 64),
    "M2": (8, 10), "M2 Pro": (8, 19), "M2 Max": (8, 38), "M2 Ultra": (8, 76),
    "M3": (9, 10), "M3 Pro": (9, 18), "M3 Max": (9, 40), "M4": (9, 10),
}  # fmt: skip
# The GPU's own name where it stands for one chip: Metal reports the chip, and its rules are Apple's.
_APPLE_ALIASES = {"GT7600+": "A10", "GT7600 PLUS": "A10", "GT7600": "A9", "G11P": "A12"}

_ADRENO_NAME = re.compile(r"ADRENO (\d{3})\b")
_MALI_NAME = re.compile(r"MALI[- ]([GT]\d{2,3})(?: ?M[PC](\d+))?\b")
_POWERVR_NAME = re.compile(r"(?:POWERVR|ROGUE|IMG)\b.*?\b(GE8|GM9|[ABCD]X[EMST](?=\b|-)|G[TX]?\d)")
_APPLE_NAME = re.compile(r"APPLE (A\d+[XZ]?|M\d)(?: (PRO|MAX|ULTRA))?\b")


@dataclass(frozen=True)
class LitertGpu:
    """What the delegate's rules ask of a GPU.

    `vendor`: adreno, mali, powervr or apple. `generation`: "6xx" (Adreno), "bifrost3" (Mali), "GE8" (PowerVR series),
    "apple5" (Metal family). `wave`: threads that run in step (half of it on Adreno unless all is fp16).
    `max_work_group_size`: of the OpenCL device, in work-items.
    """

    name: str
    vendor: str
    generation: str
    compute_units: int
    wave: int
    max_work_group_size: int

    @classmethod
    def from_name(cls, name: str, compute_units: int | None = None) -> LitertGpu:
        """From a name as OpenCL or a data sheet gives it: "Adreno 640", "Mali-G76 MP12", "PowerVR GE8320", "Apple A12".

        `compute_units` replaces the number that the tables give. Raises UserError, with what is known, for another GPU.
        """
        plain = " ".join(re.sub(r"\((TM|R)\)|[_\s]+", " ", name.upper()).split())
        found = _adreno(plain) or _mali(plain) or _apple(plain) or _powervr(plain)
        if found is None:
            raise UserError(f"GPU {name!r}: LiteRT's dispatch is described for {known_gpus()}")
        if compute_units is not None and compute_units < 1:
            raise UserError(f"GPU {name!r}: needs at least one compute unit, not {compute_units}")
        return replace(found, name=name, compute_units=compute_units or found.compute_units)

    def wave_size(self, precision: str) -> int:
        """Threads of a wave. Adreno runs waves of full width only where nothing is computed in float."""
        return self.wave // 2 if self.vendor == "adreno" and precision != "fp16" else self.wave

    @property
    def apple_family(self) -> int:
        """The Metal GPU family of an Apple GPU."""
        return int(self.generation.removeprefix("apple"))

    @property
    def has_float_matrix_units(self) -> bool:
        """Apple: whether the delegate computes convolutions in float on matrix units (M1, and family 8 on)."""
        return self.vendor == "apple" and (self.apple_family >= 8 or "M1" in self.name.upper())


def known_gpus() -> str:
    """The GPUs that `LitertGpu.from_name` takes, as one line."""
    return (
        f"Adreno {_listed(_ADRENO_UNITS)}; Mali-{_listed(_MALI)} (with MP and the number of cores where known); "
        f"PowerVR {_listed(_POWERVR_UNITS)} series; Apple {_listed(_APPLE)}; {', '.join(_APPLE_ALIASES)}"
    )


def check_precision(precision: str) -> None:
    """Raises UserError for another precision than PRECISIONS."""
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r} is unknown; LiteRT computes in {', '.join(PRECISIONS)}")


def _adreno(name: str) -> LitertGpu | None:
    found = _ADRENO_NAME.search(name)
    if found is None or int(found[1]) not in _ADRENO_UNITS:
        return None
    model = int(found[1])
    series = model // 100
    wave = 128 if series >= 6 else 64 if series >= 4 else 32
    limit = 1024 if series >= 5 else 256
    return LitertGpu(name, "adreno", f"{series}xx", _ADRENO_UNITS[model], wave, limit)


def _mali(name: str) -> LitertGpu | None:
    found = _MALI_NAME.search(name)
    if found is None or found[1] not in _MALI:
        return None
    generation, units, wave, limit = _MALI[found[1]]
    return LitertGpu(name, "mali", generation, int(found[2] or units), wave, limit)


def _apple(name: str) -> LitertGpu | None:
    alias = next((chip for text, chip in _APPLE_ALIASES.items() if text in name.split("POWERVR ")[-1]), None)
    found = _APPLE_NAME.search(name)
    chip = alias or (found and " ".join(part.title() for part in found.groups() if part))
    if chip is None or chip not in _APPLE:
        return None
    family, units = _APPLE[chip]
    return LitertGpu(name, "apple", f"apple{family}", units, 32, 1024)


def _powervr(name: str) -> LitertGpu | None:
    found = _POWERVR_NAME.search(name)
    if found is None:
        return None
    series = found[1] if found[1] in _POWERVR_UNITS else "Rogue"
    return LitertGpu(name, "powervr", series, _POWERVR_UNITS[series], 32, 512)


def _listed(known: Mapping[int, object] | Mapping[str, object]) -> str:
    return ", ".join(str(name) for name in known)
