"""Names that people can use: `<patient pseudonym>/<study>/<series>/<n>.dcm`, the same for one manifest for ever."""

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from readingroom_hub.model.dataset import Instance, Manifest

NAMELESS = "_nameless"
"""The folder of instances without a Patient ID. No pseudonym gets it: a name begins with a letter or digit."""
LONGEST = 200
"""Characters of a patient's folder, well below the 255 bytes of NAME_MAX."""
_UNSAFE = re.compile(r"^[^A-Za-z0-9]|[^A-Za-z0-9._-]")


def patient_folder(patient: str, taken: Collection[str] = ()) -> str:
    """A safe file name for a Patient ID; different ones get different names.

    What is unsafe in a shell or a path is percent-encoded (UTF-8), and so is the first character of one that is in
    `taken`; what is too long is cut and told apart by its hash."""
    if not patient:
        return NAMELESS
    name = _UNSAFE.sub(lambda found: _percent(found[0]), patient)
    if name in taken:
        name = _percent(name[0]) + name[1:]
    if len(name) > LONGEST:
        name = f"{name[: LONGEST // 2]}~{hashlib.sha256(patient.encode(errors='surrogatepass')).hexdigest()[:32]}"
    return name


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode(errors="surrogatepass"))


def in_series(manifest: Manifest) -> Iterator[list[Instance]]:
    """The instances of each series, in the order of InstanceNumber, then UID; series in the manifest's order."""
    for _, found in groupby(manifest.instances, key=lambda i: (i.study, i.series)):
        yield sorted(found, key=lambda i: (i.number, i.instance))


def file_names(series: Sequence[Instance]) -> list[str]:
    """`0001.dcm` and so on: places in the series, padded so that names sort as numbers do."""
    width = max(4, len(str(len(series))))
    return [f"{n:0{width}}.dcm" for n in range(1, len(series) + 1)]
