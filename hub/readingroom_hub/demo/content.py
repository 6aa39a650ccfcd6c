"""What the demo's room holds: two projects, a dataset each, and the access grants for them."""

import contextlib
import getpass
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from readingroom_hub import compose
from readingroom_hub.config import Settings
from readingroom_hub.errors import Conflict, NotFound, ReadingRoomError
from readingroom_hub.model.ids import ProjectId

GRANT_DAYS = 90


@dataclass(frozen=True, slots=True)
class Content:
    """One project with its dataset, made by `demo.hospital` from the department of this name."""

    project: ProjectId
    title: str
    owner: str
    department: str


DATASETS = {
    "chest-ct-demo": Content(ProjectId("chest-ct"), "Lung nodules on chest CT", "Dr Olga Owner", "ct"),
    "brain-mr-demo": Content(ProjectId("brain-mr"), "Brain volumes on MR", "Dr Omar Owner", "mr"),
}
"""By dataset name."""


def fill(settings: Settings, dataset: str) -> None:
    """Create the project, take in the dataset and grant access, each where it is missing."""
    content = DATASETS[dataset]
    audit = compose.audit(settings, "demo")
    operator = audit.identify("local", f"uid:{os.getuid()}", getpass.getuser())
    with contextlib.suppress(Conflict):  # a second start keeps what the first one made
        compose.projects(settings, audit).create(content.project, content.title, content.owner, None, operator)
    catalogue = compose.open_catalogue(settings)
    try:
        version = catalogue.versions.find(dataset)
    except NotFound:
        _ingest(settings, dataset, content)
        version = catalogue.versions.find(dataset)
    now = datetime.now(UTC)
    if not any(g.version == version.digest and g.is_current(now) for g in catalogue.grants.all(content.project)):
        ends_at = now + timedelta(days=GRANT_DAYS)
        compose.grants(settings, audit).issue(content.project, version.label, ends_at, operator)


def _ingest(settings: Settings, dataset: str, content: Content) -> None:
    from readingroom_hub.demo import hospital

    source = settings.state / "demo" / "hospital"
    hospital.generate(source)
    argv = [sys.executable, "-m", "readingroom_hub.cli.main", "dataset", "ingest", str(source / content.department)]
    done = subprocess.run(
        [*argv, "--project", content.project, "--name", dataset], env=settings.to_environ(), check=False
    )
    if done.returncode:
        raise ReadingRoomError(f"the demo's dataset {dataset} could not be taken in (exit {done.returncode})")
