"""The settings of a block in personas.yaml; docs/personas.md explains each key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, get_args

from engine.core.engine_errors import PersonaError
from engine.musetalk.boxes import EXTRA_MARGIN
from engine.musetalk.parsing import CHEEK_WIDTH, PARSING_MODE, ParsingMode

MUSETALK_KEYS = (
    "bbox_shift",
    "extra_margin",
    "parsing_mode",
    "left_cheek_width",
    "right_cheek_width",
)
"""Keys that upstream's inference configuration knows too."""

NEWEST = "v15"

ENGINES = ("auto", "warp", "torch", "tensorrt")


@dataclass(frozen=True, slots=True)
class PersonaSettings:
    """Checked settings of a persona. Lengths are pixels of its video.

    MuseTalk 1.5 has a margin below the chin and parses the jaw; 1.0 has neither (musetalk.md §8).
    What a persona sets counts with both, `bbox_shift` as well, which upstream's 1.5 leaves at 0.
    """

    video_path: str
    display_name: str = ""
    inference_config: str = ""  # a YAML file whose MuseTalk keys stand behind this block's
    bbox_shift: float = 0.0  # lowers the line above which the face stays as filmed
    face_box: tuple[int, int, int, int] | None = None  # x1, y1, x2, y2; None: look for it
    engine: str = "auto"  # the backend that this persona asks for
    smooth_boxes: bool = False  # boxes from landmarks over time; the cascade's always are
    extra_margin: int | None = None  # below the chin (musetalk.md §2, item 5); None: the version's
    parsing_mode: ParsingMode | None = None  # of the face parser; None: the version's
    left_cheek_width: int = CHEEK_WIDTH
    right_cheek_width: int = CHEEK_WIDTH
    version: str = NEWEST  # of MuseTalk, which decides what is not set; of the service, not of YAML

    @property
    def margin(self) -> int:
        """Pixels below the chin that are painted, too."""
        return EXTRA_MARGIN[self.version] if self.extra_margin is None else self.extra_margin

    @property
    def parsing(self) -> ParsingMode:
        return self.parsing_mode or PARSING_MODE[self.version]

    def prepared_with(self) -> dict[str, Any]:
        """The settings on which prepared arrays depend; the others can change freely.

        The version is not among them, but what follows of it.
        """
        kept = {
            name: value
            for name, value in asdict(self).items()
            if name not in ("video_path", "display_name", "inference_config", "engine", "version")
        }
        return {**kept, "extra_margin": self.margin, "parsing_mode": self.parsing}


def parse_settings(name: str, block: object, version: str = NEWEST) -> PersonaSettings:
    """Settings from a block as YAML gives it. Raises PersonaError naming the key at fault.

    Args:
        version: of MuseTalk, that the service serves: v15 or v1.
    """
    if not isinstance(block, Mapping):
        raise PersonaError(f"Persona {name}: write its settings as keys with values.")
    unknown = sorted(str(key) for key in block if key not in _CHECKS)
    if unknown:
        known = ", ".join(_CHECKS)
        raise PersonaError(f"Persona {name}: unknown key {unknown[0]}. Known are {known}.")
    values = {}
    for key, value in block.items():
        try:
            values[key] = _CHECKS[key](value)
        except (TypeError, ValueError) as error:
            raise PersonaError(f"Persona {name}: {key} {error}, not {value!r}.") from error
    if not values.get("video_path"):
        raise PersonaError(f"Persona {name}: video_path is missing.")
    values["display_name"] = values.get("display_name") or name
    return PersonaSettings(**values, version=version)


def _text(value: object) -> str:
    if not isinstance(value, str | int):
        raise TypeError("must be text")
    return str(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError("must be a number")
    return float(value)


def _yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _pixels(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number of pixels")
    return value


def _box(value: object) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise ValueError("must be four numbers: [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (_pixels(edge) for edge in value)
    if x2 <= x1 or y2 <= y1:
        raise ValueError("must go from its upper left to its lower right corner")
    return x1, y1, x2, y2


def _one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return str(value)

    return check


_CHECKS: dict[str, Callable[[object], Any]] = {
    "video_path": _text,
    "display_name": _text,
    "inference_config": _text,
    "bbox_shift": _number,
    "face_box": _box,
    "engine": _one_of(ENGINES),
    "smooth_boxes": _yes_or_no,
    "extra_margin": _pixels,
    "parsing_mode": _one_of(get_args(ParsingMode)),
    "left_cheek_width": _pixels,
    "right_cheek_width": _pixels,
}
