"""Cine, and the viewer under axe-core: nothing serious in light or dark, idle, playing, measuring and overlaid."""

import importlib.resources

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.lab import chromium_page, running_lab
from tests.support.viewer import Viewer, in_kernel, open_notebook, themes

pytestmark = pytest.mark.browser

ARRAY = phantom(12, rows=96, columns=80)
SAMPLE = """stage => { window.seen = []; new MutationObserver(() => {
  const z = Number(stage.dataset.slice), t = performance.now();
  if (window.seen.at(-1)?.[0] !== z) window.seen.push([z, t]);
}).observe(stage, { attributes: true }); }"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    write_series(home / "data", "d", list(ct(ARRAY, FrameOfReferenceUID="1.2.3.9", CineRate=20)))
    with running_lab(home, home / "data") as lab, chromium_page() as (page, guard):
        load = "import readingroom\nview = readingroom.dataset('d').series()[0].view(index=0)\nview"
        open_notebook(page, lab, "cine.ipynb", load)
        view = Viewer(page, len(ARRAY))
        view.root.scroll_into_view_if_needed()
        view.wait(0)
        yield page, view
        assert guard.outside == []


def test_a_cine_shows_every_picture_in_turn_at_its_rate(world):
    page, view = world
    assert view.root.get_by_role("spinbutton", name="Pictures a second").input_value() == "20"
    view.stage.evaluate(SAMPLE)
    view.stage.focus()
    page.keyboard.press(" ")
    page.wait_for_function("() => window.seen.length > 40")
    assert view.root.locator(".rr-status").get_attribute("aria-live") == "off"
    page.keyboard.press(" ")
    view.root.get_by_role("button", name="Play").wait_for()
    seen = page.evaluate("() => window.seen")
    order = [z for z, _ in seen]
    assert order == [(order[0] + i) % 12 for i in range(len(order))]
    # Never faster than it is meant to be, but for the screen's own beat; a busy machine may be slower.
    assert np.median(np.diff([t for _, t in seen])) > 1000 / 20 - 18
    # It stops on the picture that it shows, and Python knows which.
    count = len(page.evaluate("() => window.seen"))
    in_kernel(page, "assert not view.playing; view.rate = 60; view.index = 3")
    view.arrive(3)
    assert len(page.evaluate("() => window.seen")) <= count + 2
    assert view.root.get_by_role("spinbutton", name="Pictures a second").input_value() == "60"

    # Python starts and stops it, too.
    in_kernel(page, "view.playing = True")
    view.root.get_by_role("button", name="Stop").click()
    in_kernel(page, "assert view.playing is False")


def test_axe_finds_nothing_serious(world, tmp_path):
    pytest.importorskip("axe_playwright_python")
    page, view = world
    page.add_script_tag(content=(importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text())
    in_kernel(page, "view.overlay(series_mask := view._pictures.stored(0).pixels[None].repeat(12, 0) > 900, 'high')")
    view.root.locator(".rr-legend li").wait_for()
    view.stage.focus()
    page.keyboard.press("r")
    view.drag((20.1, 20.1), (39.9, 59.9))
    view.root.locator(".rr-measured li").wait_for()
    view.root.locator("summary").click()
    found = {}
    for theme in ("Dark", "Light"):
        page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", f"JupyterLab {theme}"
        )
        page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light", arg=str(theme == "Light").lower()
        )
        page.locator("#jupyterlab-splash").wait_for(state="detached")
        result = page.evaluate("root => window.axe.run(root)", view.root.element_handle())
        assert len(result["passes"]) > 10
        found |= {
            (theme, one["id"]): [node["html"] + node["failureSummary"] for node in one["nodes"]]
            for one in result["violations"]
            if one["impact"] in {"serious", "critical"}
        }
    themes(page, view.root, tmp_path, "cine")
    assert found == {}
