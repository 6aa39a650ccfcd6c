"""The path that the demo proves: researcher, data steward, reviewer, another researcher, and a withdrawal."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from readingroom_hub import compose
from readingroom_hub.config import Settings
from readingroom_hub.demo.browser import Visitor, until
from readingroom_hub.model.ids import DatasetName, ProjectId
from readingroom_hub.ports.records import Filter

FOLDER = "tutorials"
NOTEBOOK = "01-first-look.ipynb"
PROJECT = ProjectId("chest-ct")
DATASET = DatasetName("chest-ct-demo")
OTHER_DATASET = "brain-mr-demo"


class Walk:
    """One walk. `step` times and notes each part; the first that fails ends it."""

    def __init__(
        self,
        settings: Settings,
        people: Mapping[str, Visitor],
        pictures: Path,
        step: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._settings = settings
        self._people = people
        self._pictures = pictures
        self._step = step
        self._audit = compose.audit(settings, "demo-check")
        self._at = people["rosa"]

    def run(self) -> None:
        """All of it, in order."""
        self._researcher(self._person("rosa"))
        self._steward_sees(self._person("sam"))
        self._reviewer(self._person("rita"))
        self._outsider(self._person("noah"))
        self._withdrawal(self._person("sam"), self._person("rosa"))

    def _person(self, name: str) -> Visitor:
        return self._people[name]

    def picture_of_failure(self) -> None:
        """What was on the screen when the walk ended."""
        self._at.picture(self._pictures / "failed.png")

    def _researcher(self, rosa: Visitor) -> None:
        self._at = rosa
        with self._step("Rosa signs in with password and second factor"):
            rosa.sign_in()
            rosa.picture(self._pictures / "projects.png")
        with self._step("Rosa starts her project's server: JupyterLab can be used"):
            rosa.start_server(PROJECT)
        with self._step("Rosa runs the first notebook: it reads a series with pydicom and shows it"):
            rosa.open_notebook(f"{FOLDER}/{NOTEBOOK}")
            rosa.run_all()
            canvas = rosa.page.locator(".jp-OutputArea-output canvas").first
            canvas.scroll_into_view_if_needed()
            until(lambda: bool(canvas.evaluate(HAS_CONTENT)), "the canvas shows an image")
            rosa.picture(self._pictures / "notebook.png")
        with self._step("The saved notebook keeps a static picture"):
            rosa.save()
            outputs = [o for c in rosa.notebook(f"{FOLDER}/{NOTEBOOK}")["cells"] for o in c.get("outputs", [])]
            if not any("image/png" in o.get("data", {}) for o in outputs):
                raise AssertionError("no cell of the saved notebook holds a picture")
        with self._step("Rosa puts the notebook into the project's folder"):
            told = rosa.in_terminal(f"cp ~/{FOLDER}/{NOTEBOOK} /project/", "copied.txt")
            if "ended 0" not in told:
                raise AssertionError(told)
        with self._step("No page or notebook asked for anything outside this machine"):
            if rosa.foreign:
                raise AssertionError(f"asked for {rosa.foreign[:3]}")

    def _steward_sees(self, sam: Visitor) -> None:
        self._at = sam
        with self._step("Sam, the data steward, signs in"):
            sam.sign_in()
        with self._step("Sam sees Rosa's reads: who, project, object, bytes, when"):
            sam.page.goto(f"{self._settings.public_url}/services/portal/reads?project={PROJECT}&dataset={DATASET}")
            table = sam.page.get_by_role("table").first
            text = table.inner_text()
            for word in ("Rosa Rossi", PROJECT, DATASET):
                if word not in text:
                    raise AssertionError(f"{word} is not on the steward's page: {text[:300]}")
            sam.picture(self._pictures / "steward-reads.png")
        with self._step("The record has those reads, to the byte"):
            found = self._audit.query(
                Filter(project=PROJECT, dataset=DATASET, events=("read-completed",), limit=10_000), None
            )
            served = sum(f.record["subject"]["bytes"] for f in found if f.person_name == "Rosa Rossi")
            if not served:
                raise AssertionError("no read-completed record of Rosa has any bytes")

    def _reviewer(self, rita: Visitor) -> None:
        self._at = rita
        version = compose.open_catalogue(self._settings).versions.find(DATASET)
        with self._step("Rita, the reviewer, signs in and starts her server"):
            rita.sign_in()
            rita.start_server(PROJECT)
        with self._step("Rita reruns the notebook with papermill on the same dataset version"):
            told = rita.in_terminal(
                f"readingroom-rerun /project/{NOTEBOOK} --dataset {version.label} --output ~/rerun", "rerun.txt"
            )
            report = json.loads(rita.file("rerun/rerun.json") or "{}")
            if "ended 0" not in told or not report.get("comparison", {}).get("reproduced"):
                raise AssertionError(f"{told[-600:]} {report.get('outcome')} {report.get('comparison')}")
            if report["version"] != version.digest:
                raise AssertionError(f"the report names {report['version']}, the catalogue {version.digest}")

    def _outsider(self, noah: Visitor) -> None:
        self._at = noah
        with self._step("Noah, of another project, sees only his own dataset"):
            noah.sign_in()
            noah.start_server("brain-mr")
            told = noah.in_terminal(f"ls /data; ls /data/{DATASET}", "look.txt")
            if OTHER_DATASET not in told or "No such file" not in told:
                raise AssertionError(told)
        with self._step("Noah's attempt is on the record"):
            events = self._audit.query(Filter(project=ProjectId("brain-mr"), events=("read-denied",)), None)
            if not any(DATASET in str(f.record) for f in events):
                raise AssertionError(f"no read-denied record names {DATASET}")

    def _withdrawal(self, sam: Visitor, rosa: Visitor) -> None:
        self._at = sam
        with self._step("Sam withdraws the access grant on his page"):
            sam.page.goto(f"{self._settings.public_url}/services/portal/grants?project={PROJECT}")
            sam.page.get_by_role("link", name=f"Withdraw {DATASET} from {PROJECT}").first.click()
            sam.page.get_by_role("button", name="Withdraw access now").click()
            sam.page.get_by_text("withdrawn").first.wait_for()
            sam.picture(self._pictures / "steward-grants.png")
        self._at = rosa
        with self._step("Rosa's next read fails, and she is told why"):
            told = rosa.in_terminal(f"cat /data/{DATASET}/*/*/*/*.dcm | wc -c; cat /data/README.txt", "after.txt")
            if "withdrawn" not in told:
                raise AssertionError(told)


HAS_CONTENT = """canvas => {
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const levels = new Set();
  for (let i = 0; i < pixels.length; i += 4) levels.add(pixels[i]);
  return levels.size > 20;
}"""
