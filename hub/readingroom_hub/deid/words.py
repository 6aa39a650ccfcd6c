"""Words that are no names: of medicine, of the DICOM Standard, of everyday English; and eponyms such as Hodgkin."""

from functools import lru_cache
from importlib.resources import files

# Words that stand where a name is missing, titles, suffixes. Hunting for them would find nobody.
_NOBODY = (
    "anon anonymous anonymized anonymised deidentified unknown unnamed none null nil test phantom patient person "
    "removed name doctor doe study series image head brain chest body dr md phd mrs mr ms miss prof jr sr iii esq "
    "rn pat med "
    # What images show and how: somebody may be called Lung, but most texts that say lung mean one.
    "abdomen ankle aorta arm axial bone breast cardiac colon contrast coronal elbow face finger foot forearm hand "
    "heart hip kidney knee leg liver lung neck pelvis sagittal scan shoulder skull spine spleen thorax toe wrist"
)
NOBODY = frozenset(_NOBODY.split())


@lru_cache(maxsize=1)
def ordinary() -> frozenset[str]:
    """Lower-case words that another patient's name must not take out of a text: medicine, DICOM, English, eponyms."""
    return _read("words.txt") | eponyms()


@lru_cache(maxsize=1)
def eponyms() -> frozenset[str]:
    """Lower-case names that medicine uses for diseases, signs and anatomy."""
    return _read("eponyms.txt")


def _read(name: str) -> frozenset[str]:
    return frozenset((files(__package__) / "data" / name).read_text("utf-8").split())
