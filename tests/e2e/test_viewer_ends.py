"""What the viewer shows when access ends or the kernel goes away while its pictures are on the screen."""

import http.client

import numpy as np
import pytest
from tests.support.dicom_series import ct, described, phantom, write_series
from tests.support.mount_world import mounted_world
from tests.support.receivers import until
from tests.support.viewer import Viewer, in_kernel, kernel_held, open_notebook

from readingroom.planes import Stored
from readingroom.viewers.render import grey_levels

pytestmark = pytest.mark.browser

SLICES = 12
ARRAY = phantom(SLICES, rows=64, columns=48)
OPEN = "import readingroom as rr\nseries = rr.dataset('ends').series()[0]"
# As the mount refuses after a withdrawal: whatever is opened below the dataset.
REFUSE = """
import errno, os
kept = os.open
def refused(path, *rest, **named):
    if "ends" in str(path):
        raise PermissionError(errno.EACCES, "withdrawn")
    return kept(path, *rest, **named)
os.open = refused
"""
# The next refusal takes as long as a file is missing, and is the last one.
REFUSE_LATE = """
import pathlib, time
def late(path, *rest, **named):
    if "ends" in str(path) and os.open is late:
        os.open = kept
        pathlib.Path(GO).with_suffix(".asked").touch()
        while not pathlib.Path(GO).exists():
            time.sleep(0.01)
        raise PermissionError(errno.EACCES, "withdrawn")
    return kept(path, *rest, **named)
os.open = late
"""
BLANK = "canvas => [canvas.width, canvas.height].join() === '1,1'"


def ended(view, text):
    view.root.locator(".rr-error", has_text=text).wait_for(timeout=30_000)
    assert view.canvas.evaluate(BLANK)
    assert view.canvas.is_hidden()


def test_every_view_goes_blank_when_access_ends_while_nothing_is_read(lab, screen, tmp_path):
    write_series(lab.data, "ends", list(ct(ARRAY, WindowCenter=0, WindowWidth=2048)))
    page, _guard = screen
    open_notebook(
        page,
        lab,
        "ends.ipynb",
        OPEN,
        "view = series.view(index=3)\nview",
        "view",
        "flat = rr.view(series.volume())\nflat",
    )
    views = [Viewer(page, SLICES, page.locator(".rr-view").nth(n)) for n in range(3)]
    for view, index in zip(views, (3, 3, SLICES // 2), strict=True):
        view.root.scroll_into_view_if_needed()
        view.arrive(index)
    in_kernel(page, REFUSE)
    for view in views:
        view.root.scroll_into_view_if_needed()
        ended(view, "Access to ends was withdrawn or has ended")
    in_kernel(page, "os.open = kept")
    # Granted anew: the same slice, asked for by a key.
    first = views[0]
    first.root.scroll_into_view_if_needed()
    first.stage.focus()
    page.keyboard.press("Home")
    assert np.ptp(first.wait(0)) > 0
    # What nobody asked for again stays away.
    assert views[2].canvas.evaluate(BLANK)
    assert first.root.locator(".rr-error").is_hidden()

    # What is asked for while an earlier refusal is under way is not lost with it.
    in_kernel(page, REFUSE)
    ended(first, "Access to ends was withdrawn or has ended")
    in_kernel(page, REFUSE_LATE.replace("GO", repr(str(tmp_path / "go"))))
    page.keyboard.press("End")
    until((tmp_path / "go.asked").exists)
    page.keyboard.press("ArrowUp")
    (tmp_path / "go").touch()
    first.wait(SLICES - 2)

    # A cell that runs for long holds up no picture.
    kernel = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    page.evaluate(
        f"() => {{ window.over = false; {kernel}.requestExecute({{ code: 'import time; time.sleep(60)' }})"
        ".done.finally(() => { window.over = true; }); }"
    )
    page.wait_for_function(f"() => {kernel}.status === 'busy'")
    page.keyboard.press("End")
    first.wait(SLICES - 1)
    assert not page.evaluate("() => window.over")

    page.evaluate(f"() => {kernel}.restart()")
    ended(first, "The kernel was restarted or has ended")
    page.keyboard.press("Home")
    assert first.canvas.evaluate(BLANK)
    # Run again: live again.
    page.wait_for_function(f"() => {kernel}.status === 'idle'")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    again = Viewer(page, SLICES, page.locator(".rr-view").first)
    again.arrive(3)
    np.testing.assert_array_equal(again.pixels(), grey_levels(Stored(ARRAY[3]), (0.0, 2048.0)))


@pytest.mark.fuse
def test_a_revoked_grant_takes_the_picture_away_on_a_real_mount_and_a_new_one_brings_it_back(lab, screen, tmp_path):
    page, _guard = screen
    made = write_series(tmp_path / "made", "revoked", list(ct(ARRAY, WindowCenter=0, WindowWidth=2048)))
    with mounted_world(tmp_path / "state") as room:
        files = [(described(path), path.read_bytes()) for path in sorted(made.iterdir())]
        published = room.publish_made(room.project("project"), "revoked", files)
        grant = room.grant(published.version.project, published.version)
        data = room.attach(room.session(published.version.project))
        load = f"import os\nos.environ['READINGROOM_DATA'] = {str(data)!r}\nimport readingroom"
        cell = "readingroom.dataset('revoked').series()[0].view(index=3)"
        open_notebook(page, lab, "revoked.ipynb", load, cell)
        view = Viewer(page, SLICES)
        view.root.scroll_into_view_if_needed()
        view.arrive(3)
        assert room.subjects("read-intent")

        room.revoke(grant)
        room.daemon.refresh()
        # Nobody touches the view.
        ended(view, "Access to revoked was withdrawn or has ended")
        page.keyboard.press("Escape")
        view.stage.focus()
        page.keyboard.press("End")
        ended(view, "Access to revoked was withdrawn or has ended")

        room.grant(published.version.project, published.version)
        room.daemon.refresh()
        page.keyboard.press("Home")
        np.testing.assert_array_equal(view.wait(0), grey_levels(Stored(ARRAY[0]), (0.0, 2048.0)))


def test_a_kernel_that_answers_nothing_holds_up_no_picture(lab, screen, tmp_path):
    page, _guard = screen
    write_series(lab.data, "busy", list(ct(ARRAY, WindowCenter=0, WindowWidth=2048)))
    open_notebook(
        page, lab, "busy.ipynb", "import readingroom as rr\nview = rr.dataset('busy').series()[0].view(index=3)\nview"
    )
    view = Viewer(page, SLICES)
    view.wait(3)
    only_images_are_served_and_only_to_their_user(lab)
    with kernel_held(page, tmp_path):
        view.stage.focus()
        for key, index in [("Home", 0), ("End", SLICES - 1), ("ArrowUp", SLICES - 2)]:
            page.keyboard.press(key)
            expected = grey_levels(Stored(ARRAY[index]), (0.0, 2048.0))
            np.testing.assert_array_equal(view.wait(index), expected)
        # Access that ends meanwhile takes the picture away.
        (folder,) = lab.data.glob("busy/*/*")
        folder.rename(folder.with_name("gone"))
        ended(view, "is not there")


def only_images_are_served_and_only_to_their_user(lab):
    (image, *_) = (one.relative_to(lab.data).as_posix() for one in lab.data.glob("busy/*/*/*.dcm"))
    for file, token, status in (
        (image, lab.token, 200),
        (image, None, 403),
        ("busy/%2e%2e/%2e%2e/secret.dcm", lab.token, 400),
        ("/etc/passwd", lab.token, 400),
        ("busy/nothing.dcm", lab.token, 410),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=30)
        headers = {"Authorization": f"token {token}"} if token else {}
        connection.request("GET", f"/readingroom/picture?frame=0&file={file}", headers=headers)
        assert connection.getresponse().status == status, file
        connection.close()
