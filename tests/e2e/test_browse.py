"""100,000 series in a real JupyterLab and Chromium: what is in the page, and what the kernel is asked for."""

import csv

import numpy as np
import pytest
from PIL import Image
from tests.support.dicom_series import instance, write_card, write_series
from tests.support.viewer import PIXELS, in_kernel, open_notebook, serious, themes, until_in_kernel

from readingroom.planes import Stored
from readingroom.viewers.render import grey_levels

pytestmark = pytest.mark.browser

MANY, REAL, RARE = 100_000, 40, {43_210, 43_211}
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
HEAD = [
    "path",
    "patient",
    "study_date",
    "modality",
    "description",
    "body_part",
    "rows",
    "columns",
    "frames",
    "spacing",
    "study",
    "series",
    "instance",
]
LATER = ["thickness", "kernel", "sex", "age"]
TILES = "list => list.querySelectorAll('.rr-tile').length"


def picture(number):
    """A disc in a ramp, another one in each series."""
    y, x = np.mgrid[:96, :96]
    disc = (y - 30 - number % 8 * 5) ** 2 + (x - 30 - number // 8 * 8) ** 2 < 300
    return np.where(disc, 1060, 700 + 2 * y + x).astype(np.uint16)


def small(number):
    """The thumbnail of a series: the picture in its window, as high as it is in the patient."""
    grey = grey_levels(Stored(picture(number % REAL), 1.0, -1024.0), (40.0, 600.0))
    return np.asarray(Image.fromarray(grey).resize((96, 64), Image.Resampling.BOX))


def write_many(data, name, later=LATER, count=MANY):
    """An index whose series are so many, and whose images are those of 40 real ones, over and over."""
    made = [instance(picture(k), description=f"Real {k}", WindowWidth=600) for k in range(REAL)]
    folders = [write_series(data, name, [one], study=f"1.2.{k}") for k, one in enumerate(made)]
    with (data / name / "index.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEAD + later)
        for s in range(count):
            folder = folders[s % REAL]
            modality = ("CT", "CT", "MR")[s % 3]
            row = [
                "x",
                f"P{s // 4}",
                "20200101",
                modality,
                f"{'Zebra' if s in RARE else 'Series'} {s}",
                ("CHEST", "HEAD")[s % 2],
                96,
                96,
                1,
                "0.5\\0.75",
            ]
            told = [["1", "2.5", "10"][s % 3], ["SOFT", ""][s % 2], "FM"[s % 2], ["20-29", "90+"][s // 2 % 2]]
            table.writerow([*row, f"1.2.{s % REAL}", folder.name, made[s % REAL].SOPInstanceUID, *told[: len(later)]])
    write_card(data, name)


class Grid:
    def __init__(self, page):
        self.page = page
        self.root = page.locator(f"{PANEL} .rr-browse").first
        self.list = self.root.get_by_role("listbox")

    def says(self, text):
        self.page.wait_for_function(
            "([root, text]) => root.querySelector('.rr-browse-status').textContent === text",
            arg=[self.root.element_handle(), text],
        )

    def tile(self, place):
        return self.list.locator(f".rr-tile[aria-posinset='{place + 1}']")

    def pictured(self, place):
        """Wait until the series at a place has its thumbnail; answer its grey levels."""
        tile = self.tile(place)
        self.list.locator(f".rr-tile[aria-posinset='{place + 1}'][data-pictured]").wait_for()
        rows, columns, flat = tile.locator("canvas").evaluate(PIXELS)
        return np.array(flat, np.uint8).reshape(rows, columns, 4)[..., 0]

    def focused(self, place):
        self.page.wait_for_function(
            "([list, at]) => list.querySelector('#' + list.getAttribute('aria-activedescendant'))"
            "?.getAttribute('aria-posinset') === at",
            arg=[self.list.element_handle(), str(place + 1)],
        )


@pytest.fixture(scope="module")
def world(lab, screen):
    write_many(lab.data, "many")
    write_many(lab.data, "older", later=[], count=60)
    return lab, screen[0]


def opened(world, name, dataset):
    lab, page = world
    load = (
        f"import readingroom\nbrowser = readingroom.dataset('{dataset}').browse()\nseen = []\n"
        "browser.grid.on_msg(lambda _w, content, _b: seen.append(content['k']))\nbrowser"
    )
    open_notebook(page, lab, f"{name}.ipynb", load)
    grid = Grid(page)
    grid.root.scroll_into_view_if_needed()
    return page, grid


@pytest.fixture(scope="module")
def notebook(world):
    return opened(world, "many", "many")


@pytest.fixture
def many(notebook):
    """The page and the grid of many series, with no filter and its first series on the screen."""
    page, grid = notebook
    in_kernel(page, "browser.filters = {}; browser.search = ''")
    grid.says("100,000 of 100,000 series")
    grid.list.focus()
    page.keyboard.press("Home")
    grid.pictured(0)
    return page, grid


def test_the_page_holds_and_the_kernel_is_asked_for_what_is_on_the_screen(many, pictures):
    page, grid = many
    shown = grid.pictured(3)
    np.testing.assert_array_equal(shown, small(3))
    across, down = grid.list.evaluate(
        "list => [Math.floor(list.clientWidth / 148), Math.ceil(list.clientHeight / 176)]"
    )
    most = across * (down + 3)
    grid.pictured(across * (down - 1) - 1)
    themes(page, grid.root, pictures, "browse")
    assert across * down <= grid.list.evaluate(TILES) <= most

    # From end to end in 120 steps, one a frame: only what is on the screen is in the page, and nothing passing is read.
    until_in_kernel(page, f"seen.count('thumb') >= {across * down}")
    in_kernel(page, "before = seen.count('thumb')")
    counts = grid.list.evaluate(
        """async list => {
          const counts = [];
          for (let step = 1; step <= 120; step++) {
            list.scrollTop = (list.scrollHeight - list.clientHeight) * step / 120;
            await new Promise(requestAnimationFrame);
            counts.push(list.querySelectorAll('.rr-tile').length);
          }
          return counts;
        }"""
    )
    assert across * (down - 1) <= max(counts) <= most
    np.testing.assert_array_equal(grid.pictured(MANY - 1), small(MANY - 1))
    assert "Series 99999" in grid.tile(MANY - 1).inner_text()
    assert grid.list.evaluate(TILES) <= most
    in_kernel(page, f"assert seen.count('thumb') - before <= 3 * {most}, seen.count('thumb') - before")
    in_kernel(page, "assert seen.count('rows') <= 130, seen.count('rows')")


def test_filters_count_what_each_choice_would_leave(many):
    page, grid = many
    modality = grid.root.locator("details[data-facet='modality']")
    modality.locator("summary").click()
    assert modality.get_by_role("checkbox").count() == 2
    assert [t.strip() for t in modality.locator("label").all_inner_texts()] == ["CT 66,667", "MR 33,333"]
    modality.get_by_role("checkbox", name="MR").check()
    grid.says("33,333 of 100,000 series")
    # The own filter's counts stay: what another choice would give.
    assert [t.strip() for t in modality.locator("label").all_inner_texts()] == ["CT 66,667", "MR 33,333"]
    assert grid.pictured(0).shape == (64, 96)
    assert "Series 2\n" in grid.tile(0).inner_text()
    until_in_kernel(page, "browser.filters == {'modality': ['MR']} and len(browser.series()) == 33333")

    in_kernel(page, "browser.filters = {'thickness': ['1', '10'], 'kernel': [''], 'age': ['90+'], 'sex': ['M']}")
    left = sum(s % 3 != 1 and s % 4 == 3 for s in range(MANY))
    grid.says(f"{left:,} of 100,000 series")
    assert "not told" in grid.root.locator("details[data-facet='kernel'] summary").inner_text()
    refused = (
        "try:\n    browser.filters = {'weight': ['80']}\nexcept Exception as error:\n    told = str(error)\n"
        "assert 'there are modality' in told"
    )
    in_kernel(page, refused)
    grid.root.get_by_role("button", name="Clear filters").click()
    grid.says("100,000 of 100,000 series")


def test_by_keyboard_alone_a_series_is_searched_and_opened(many, tmp_path):
    page, grid = many
    grid.list.focus()
    page.keyboard.press("ArrowRight")
    grid.focused(1)
    page.keyboard.press("ArrowDown")
    grid.focused(1 + grid.list.evaluate("list => Math.floor(list.clientWidth / 148)"))
    page.keyboard.press("End")
    grid.focused(MANY - 1)
    page.keyboard.press("Home")
    grid.focused(0)
    page.keyboard.press("/")
    page.keyboard.type("zebra")
    grid.says("2 of 100,000 series")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    grid.focused(1)
    page.keyboard.press("Enter")
    page.locator(f"{PANEL} .rr-view").wait_for()
    until_in_kernel(page, "'Open: CT Real 11' in browser.describe()")
    said = grid.root.locator(".rr-browse-said", has_text="Zebra 43211 is open below.")
    said.wait_for()
    page.screenshot(path=tmp_path / "open.png")

    # Another one takes its place.
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    until_in_kernel(page, "len(browser.children) == 2 and 'Real 10' in browser.describe()")
    page.wait_for_function(
        "panel => panel.querySelectorAll('.rr-view').length === 1", arg=page.locator(PANEL).element_handle()
    )


def test_axe_finds_nothing_serious(many):
    pytest.importorskip("axe_playwright_python")
    page, grid = many
    for facet in ("modality", "age"):
        grid.root.locator(f"details[data-facet='{facet}'] summary").click()
    grid.list.focus()
    assert serious(page, grid.root) == {}


def test_thumbnails_vanish_when_access_is_withdrawn(world):
    page, grid = opened(world, "ended", "older")
    grid.says("60 of 60 series")
    grid.pictured(0)
    grid.list.focus()
    page.keyboard.press("Enter")
    page.locator(f"{PANEL} .rr-view").wait_for()
    assert "not known in this version" in grid.root.locator("details[data-facet='age']").text_content()
    in_kernel(
        page,
        "import errno, os\ndef refused(*_, **__):\n    raise PermissionError(errno.EACCES, 'withdrawn')\n"
        "kept = os.open; os.open = refused",
    )
    grid.root.get_by_role("alert").wait_for()
    assert "Access to older was withdrawn or has ended" in grid.root.get_by_role("alert").inner_text()
    assert grid.root.locator(".rr-tile").count() == 0
    page.locator(f"{PANEL} .rr-view").wait_for(state="detached")
    assert page.locator(f"{PANEL} canvas").count() == 0
    in_kernel(page, "os.open = kept")
