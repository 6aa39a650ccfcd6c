"""The generated files of one dataset version: dataset.json for programs, index.csv and index.parquet for tables,
README.md for people."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator

from readingroom_hub.model.dataset import DatasetVersion, Instance, Manifest
from readingroom_hub.mount.paths import file_names, in_series, patient_folder

JSON_NAME, INDEX_NAME, PARQUET_NAME, README_NAME = b"dataset.json", b"index.csv", b"index.parquet", b"README.md"
COLUMNS = (
    "path",
    "patient",
    "study_date",
    "modality",
    "description",
    "body_part",
    "number",
    "rows",
    "columns",
    "frames",
    "spacing",
    "bytes",
    "sop_class",
    "study",
    "series",
    "instance",
    "thickness",
    "kernel",
    "sex",
    "age",
    "model",
)
"""Of index.csv and index.parquet, format 1: columns are only ever appended."""


def dataset_json(version: DatasetVersion) -> bytes:
    """The text of /data/<dataset>/dataset.json, format 1."""
    fields = {
        "format": "readingroom-dataset/1",
        "dataset": version.dataset,
        "version": version.digest,
        "label": version.label,
        "instances": version.instances,
        "series": version.series,
        "studies": version.studies,
        "bytes": version.size,
    }
    return json.dumps(fields, indent=1).encode() + b"\n"


def index_csv(manifest: Manifest) -> bytes:
    """A head, then `index_rows` (RFC 4180, with LF)."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n")
    write.writerow(COLUMNS)
    write.writerows(index_rows(manifest))
    return text.getvalue().encode()


def index_rows(manifest: Manifest) -> Iterator[tuple[object, ...]]:
    """A row an instance, by study, series and place in the series; fields as in COLUMNS."""
    folders = patient_folders(manifest)
    for series in in_series(manifest):
        for instance, name in zip(series, file_names(series), strict=True):
            yield _row(instance, f"{folders[instance.patient]}/{instance.study}/{instance.series}/{name}")


def patient_folders(manifest: Manifest) -> dict[str, str]:
    """Patient ID -> name of the patient's folder, which is never that of a generated file or of a study."""
    taken = {name.decode() for name in (JSON_NAME, INDEX_NAME, PARQUET_NAME, README_NAME)}
    taken |= {i.study for i in manifest.instances}
    return {patient: patient_folder(patient, taken) for patient in {i.patient for i in manifest.instances}}


def _row(i: Instance, path: str) -> tuple[object, ...]:
    return (
        path,
        i.patient,
        i.study_date,
        i.modality,
        i.description,
        i.body_part,
        i.number,
        i.rows,
        i.columns,
        i.frames,
        i.spacing,
        i.size,
        i.sop_class,
        i.study,
        i.series,
        i.instance,
        i.thickness,
        i.kernel,
        i.sex,
        i.age,
        i.model,
    )


def readme_md(version: DatasetVersion, manifest: Manifest) -> bytes:
    """What this folder is, and how to find something in it without opening every file."""
    kinds = Counter(i.modality for i in manifest.instances)
    patients = len({i.patient for i in manifest.instances})
    return f"""# {version.dataset}

Dataset version `{version.label}` ({version.digest}), de-identified for project {version.project}.

- {patients} patients, {version.studies} studies, {version.series} series, {version.instances} instances
- instances by modality: {", ".join(f"{k} {n}" for k, n in sorted(kinds.items()))}
- {version.size / 1e6:.1f} MB
- de-identification: {manifest.profile}

`index.csv` has one row for each instance, so you need not open the images to find what you look for. `path` starts
here, at this folder. `patient` is a pseudonym, dates are shifted. `spacing` is row\\column in mm, as DICOM writes it,
`thickness` that of slices in mm, `age` a band of ten years. What de-identification took away is empty, and so are
`thickness`, `kernel`, `sex`, `age` and `model` in versions from before they were listed.

    import pandas, pydicom
    index = pandas.read_csv("/data/{version.dataset}/index.csv", dtype={{"patient": str, "study_date": str}})
    ct = index[index.modality == "CT"].sort_values(["series", "number"])
    image = pydicom.dcmread("/data/{version.dataset}/" + ct.path.iloc[0])

Images lie in `<patient>/<study>/<series>/<n>.dcm`: patient by pseudonym, study and series by their new UIDs, `n` by
Instance Number. `<study>/<series>/<instance>.dcm`, by UIDs alone, opens the same image, though it is not listed here.
`index.parquet` holds the rows of `index.csv` with their types. Each open of an image is on the audit record, and so is
reading one of these two.
""".encode()
