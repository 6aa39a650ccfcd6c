"""The report of a de-identification run, as JSON and as one page that needs nothing else."""

import base64
import html
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from readingroom_hub.deid import policy_file
from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.pixels.clean import Cleaned
from readingroom_hub.deid.policy import Policy
from readingroom_hub.deid.reasons import reason
from readingroom_hub.errors import BadInput
from readingroom_hub.services.intake_files import LeftOut
from readingroom_hub.services.intake_pool import Sealed
from readingroom_hub.services.rare_values import RareValues

MOST_THUMBNAILS = 200
_SAMPLES = 3
FORMAT = "readingroom-deid-report/1"


@dataclass(frozen=True, slots=True)
class Masked:
    """An instance whose pixels were masked."""

    instance: str
    """SOP Instance UID: the new one."""
    pixels: Cleaned

    def row(self) -> dict[str, Any]:
        """As JSON: each mask with what was found there, never the text itself."""
        masks = [{"box": list(m.box), "found": m.verdict.value} for m in self.pixels.masks]
        return {"instance": self.instance, "frames": self.pixels.frames, "masks": masks}


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did. Paths of files left out are for the steward's eyes only: they may name patients."""

    policy: Policy
    files: int
    instances: int
    bytes: int
    masked: tuple[Masked, ...]
    actions: Counter[tuple[str, Action]]
    left_out: tuple[LeftOut, ...]
    seconds: float
    rare: tuple[dict[str, Any], ...]
    """Values that fewer patients share than the threshold asks for."""
    samples: dict[tuple[str, Action], tuple[str, ...]]
    """What some of the attributes that were changed say now."""
    heads: int = 0
    """Series from which faces were cut."""

    def content(self) -> dict[str, Any]:
        """As JSON: attributes by keyword, with how often which action was done and why."""
        return {
            "format": FORMAT,
            "profile": self.policy.profile,
            "method": self.policy.method,
            "options": sorted(o.standard_name for o in self.policy.options),
            "files": self.files,
            "instances": self.instances,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 2),
            "files_per_second": round(self.files / self.seconds, 1) if self.seconds else None,
            "policy": policy_file.content(self.policy),
            "masked_places": sum(len(m.pixels.masks) for m in self.masked),
            "masked": [m.row() for m in self.masked],
            "defaced_series": self.heads,
            "defaced_instances": self.actions["PixelData", Action.DEFACE],
            "attributes": [
                {
                    "attribute": keyword,
                    "action": action.value,
                    "count": n,
                    "now": [plain(text) for text in self.samples.get((keyword, action), ())],
                    "why": reason(self.policy, keyword, action),
                }
                for (keyword, action), n in sorted(self.actions.items())
            ],
            "rare_values": list(self.rare),
            "left_out_by_reason": dict(Counter(o.reason for o in self.left_out).most_common()),
            "left_out": [{"file": plain(o.path), "reason": o.reason} for o in self.left_out],
        }

    def json(self) -> str:
        """The content, indented."""
        return json.dumps(self.content(), indent=1, ensure_ascii=False) + "\n"

    def write(self, folder: Path) -> None:
        """Write `report.json` and `report.html` into `folder`, which is made where there is none. Raises BadInput."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "report.json").write_text(self.json(), "utf-8")
            (folder / "report.html").write_text(self.page(), "utf-8")
        except OSError as error:
            raise BadInput(f"the report cannot be written to {folder}: {error.strerror}") from error

    def page(self) -> str:
        """The content as one HTML page without script, style sheet or image from elsewhere."""
        c = self.content()
        facts = [
            ("Profile", c["profile"]),
            ("Files", f"{c['files']}, of which {c['instances']} de-identified and {len(c['left_out'])} left out"),
            ("Masked places in pixels", c["masked_places"]),
            ("Faces cut", f"from {c['defaced_series']} series, {c['defaced_instances']} instances"),
            ("Time", f"{c['seconds']} s, {c['files_per_second']} files a second"),
        ]
        return _PAGE.format(
            facts="".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in facts),
            left_out=_table(("file", "reason"), c["left_out"]) if c["left_out"] else "<p>Nothing was left out.</p>",
            reasons=_table(
                ("reason", "files"), [{"reason": r, "files": n} for r, n in c["left_out_by_reason"].items()]
            ),
            rare=_table(("attribute", "value", "patients"), self.rare) if self.rare else "<p>None.</p>",
            most=MOST_THUMBNAILS,
            masked="".join(map(_figure, self.masked[:MOST_THUMBNAILS])) or "<p>None.</p>",
            attributes=_table(
                ("attribute", "action", "count", "now", "why"),
                [row | {"now": " | ".join(row["now"])} for row in c["attributes"]],
            ),
        )


@dataclass(slots=True)
class Tally:
    """What a run has done so far."""

    left_out: list[LeftOut] = field(default_factory=list)
    instances: int = 0
    bytes: int = 0
    masked: list[Masked] = field(default_factory=list)
    actions: Counter[tuple[str, Action]] = field(default_factory=Counter)
    values: RareValues = field(default_factory=RareValues)
    samples: dict[tuple[str, Action], list[str]] = field(default_factory=dict)
    heads: set[str] = field(default_factory=set)

    def add(self, result: Sealed) -> None:
        """One more instance has been written."""
        one = result.instance
        self.values.add(one.patient, result.told)
        self.actions += result.actions
        for key, value in result.samples.items():
            known = self.samples.setdefault(key, [])
            if len(known) < _SAMPLES and value not in known:
                known.append(value)
        if result.actions["PixelData", Action.DEFACE]:
            self.heads.add(one.series)
        self.instances, self.bytes = self.instances + 1, self.bytes + one.size
        if result.pixels and result.pixels.masks:
            shown = len(self.masked) < MOST_THUMBNAILS  # the others' pictures would only fill the memory
            pixels = result.pixels if shown else replace(result.pixels, thumbnail=b"")
            self.masked.append(Masked(one.instance, pixels))

    def report(self, policy: Policy, files: int, seconds: float, rare: int) -> Report:
        """Of a run over so many files; it lists values that fewer than `rare` patients share."""
        return Report(
            policy,
            files,
            self.instances,
            self.bytes,
            tuple(self.masked),
            self.actions,
            tuple(sorted(self.left_out, key=lambda o: o.path)),
            seconds,
            tuple(self.values.rows(rare)),
            {key: tuple(values) for key, values in self.samples.items()},
            len(self.heads),
        )


def plain(path: str) -> str:
    """A path as text, whatever bytes and control characters its name has."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _figure(masked: Masked) -> str:
    found = Counter(m.verdict.value for m in masked.pixels.masks)
    what = ", ".join(f"{n} {_text(kind)}" for kind, n in sorted(found.items()))
    picture = base64.b64encode(masked.pixels.thumbnail).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{picture}" alt="First frame after masking, masks outlined">'
        f"<figcaption>{what}<br>{_text(masked.instance)}</figcaption></figure>"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> str:
    head = "".join(f"<th scope=col>{_text(c)}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(row[c])}</td>" for c in columns) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>De-identification report</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }}
dt {{ font-weight: 600 }} table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8886; vertical-align: top }}
.masked {{ display: flex; flex-wrap: wrap; gap: 1rem }} figure {{ margin: 0; max-width: 20rem }}
img {{ max-width: 100%; background: #000 }} figcaption {{ font-size: .875rem; overflow-wrap: anywhere }}
td {{ overflow-wrap: anywhere }}
</style></head><body><main>
<h1>De-identification report</h1>
<p>This page may name files after patients: keep it where the originals are.</p>
<dl>{facts}</dl>
<h2>Left out, and why</h2>{reasons}{left_out}
<h2>Images with masks</h2>
<p>First frames as they are now: what an orange line surrounds is masked. The first {most} are shown;
<code>report.json</code> lists all. Look whether text that identifies is left, and whether more is masked than
need be.</p>
<div class=masked>{masked}</div>
<h2>Values that few patients share</h2>
<p>They may tell who somebody is: leave out Retain Patient Characteristics, or those patients.</p>{rare}
<h2>What was done to which attribute, and why</h2>
<p>Attributes that are not listed were kept as they were. "Now" is what up to three of them say after it.</p>
{attributes}
</main></body></html>
"""
