"""Which pulse a file name states: in what people write (BraTS, BIDS and TCGA names), or in the BIDS sidecar.

It is never read from intensities.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from revoxel.core.pulses import Pulse
from revoxel.core.volumes import volume_sidecar, volume_stem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

#: What people write for each pulse, in lower case.
PULSE_WORDS = {
    **dict.fromkeys(("t1", "t1n", "t1w"), Pulse.t1n),
    **dict.fromkeys(("t1c", "t1ce", "t1gd", "t1post", "t1wce", "t1cw", "t1wc"), Pulse.t1c),
    **dict.fromkeys(("t2", "t2n", "t2w"), Pulse.t2w),
    **dict.fromkeys(("t2f", "flair", "t2flair", "t2wflair"), Pulse.t2f),
}
CONTRAST_WORDS = frozenset({"gd", "gad", "gadolinium", "post", "postcontrast", "contrast", "ce"})
_CHOICES = ", ".join(pulse.value for pulse in Pulse)
_SIDECAR_TEXT_KEYS = ("SeriesDescription", "ProtocolName")


def pulse_of(path: Path, requested: str = "auto") -> Pulse:
    """Pulse of a scan: the one requested, or the one that its name or sidecar states.

    Args:
        path: The scan; names as in BraTS (`BraTS-GLI-00001-000-t1c`), BIDS (`sub-01_ce-gadolinium_T1w`) or
            TCGA (`TCGA-FG-6692_T1POST`).
        requested: A pulse, or `"auto"`.

    Returns:
        The pulse.

    Raises:
        ValueError: If the request is no pulse, or name and sidecar state none or several.
    """
    if requested != "auto":
        return parse_pulse(requested)
    found = _pulses_in(volume_stem(path)) or _pulses_in_sidecar(volume_sidecar(path))
    if len(found) == 1:
        return next(iter(found))
    stated = "several pulses" if found else "no pulse"
    msg = (
        f"the name or sidecar of {path} must state one pulse, got {stated}; "
        f"pass --pulse with one of: {_CHOICES}."
    )
    raise ValueError(msg)


def parse_pulse(text: str) -> Pulse:
    """Pulse that a few words state.

    Args:
        text: What people write, such as `T1 post` or `flair`.

    Raises:
        ValueError: If it states none or several.
    """
    found = _pulses_in(text)
    if len(found) != 1:
        msg = f"pulse must be one of {_CHOICES} or auto, got {text!r}; pass --pulse t1c, for example."
        raise ValueError(msg)
    return next(iter(found))


def without_pulse(path: Path, also: Collection[str] = ()) -> str:
    """Name of a scan without the words at its end that state a pulse: what scans of one visit share.

    Args:
        path: The scan, such as `BraTS-GLI-00001-000-t1c.nii.gz`.
        also: Further words to be left out, in lower case.

    Returns:
        Such as `BraTS-GLI-00001-000`; a name that is nothing but such words keeps the first.
    """
    said = {*PULSE_WORDS, *CONTRAST_WORDS, *also}
    parts = re.split(r"([-_])", volume_stem(path))
    while len(parts) > 1 and parts[-1].lower() in said:
        parts = parts[:-2]
    return "".join(parts)


def _pulses_in(text: str) -> frozenset[Pulse]:
    """Pulses that a text states, with the two combinations that people write resolved."""
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
    found = {PULSE_WORDS[word] for word in words if word in PULSE_WORDS}
    if Pulse.t1n in found and CONTRAST_WORDS.intersection(words):
        found.add(Pulse.t1c)
    return frozenset(_without_the_general(found))


def _without_the_general(found: Iterable[Pulse]) -> set[Pulse]:
    """`T2_FLAIR` is a FLAIR, `T1 post` a T1 with contrast: the special name wins over the general one."""
    kept = set(found)
    for special, general in ((Pulse.t2f, Pulse.t2w), (Pulse.t1c, Pulse.t1n)):
        if special in kept:
            kept.discard(general)
    return kept


def _pulses_in_sidecar(path: Path) -> frozenset[Pulse]:
    if not path.is_file():
        return frozenset()
    try:
        tags = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"sidecar {path} must be valid JSON, got {error}; repair it or pass --pulse ({_CHOICES})."
        raise ValueError(msg) from error
    text = " ".join(str(tags.get(key, "")) for key in _SIDECAR_TEXT_KEYS)
    contrast = " contrast" if tags.get("ContrastBolusAgent") or tags.get("ContrastBolusIngredient") else ""
    return _pulses_in(text + contrast)
