import random
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.dicom_series import ct, phantom, write_series

from readingroom import geometry
from readingroom.planes import Plane
from readingroom.volume import Frames


@st.composite
def rotations(draw):
    """An orthonormal frame from a unit quaternion."""
    q = np.array([draw(st.floats(-1, 1)) for _ in range(4)]) + np.array([1.5, 0, 0, 0])
    w, x, y, z = q / np.linalg.norm(q)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def plane(index, position, axes, spacing):
    return Plane(
        path=Path(f"{index}.dcm"),
        dataset="d",
        frame=0,
        instance=f"1.2.{index}",
        number=0,
        rows=4,
        columns=4,
        position=tuple(round(float(v), 6) for v in position),
        orientation=(*axes[:, 0], *axes[:, 1]),
        spacing=spacing,
        slope=1.0,
        intercept=0.0,
        windows=(),
        luts=(),
        looked_up=False,
        coloured=False,
    )


@given(
    axes=rotations(),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    step=st.floats(0.2, 10),
    spacing=st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)),
    count=st.integers(1, 20),
    seed=st.integers(0, 2**32),
)
def test_affine_maps_indices_to_image_position_patient(axes, origin, step, spacing, count, seed):
    planes = [plane(k, np.array(origin) + k * step * axes[:, 2], axes, spacing) for k in range(count)]
    shuffled = random.Random(seed).sample(planes, count)
    ordered = geometry.in_order(shuffled)
    assert ordered == planes
    grid = geometry.grid_of(ordered)
    for k, one in enumerate(ordered):
        np.testing.assert_allclose((grid.affine @ [k, 0, 0, 1])[:3], one.position, atol=1e-4)
    # PS3.3 C.7.6.2.1.1: column index steps along the row direction, row index along the column direction.
    at = (grid.affine @ [0, 2, 3, 1])[:3]
    expected = np.array(ordered[0].position) + 3 * spacing[1] * axes[:, 0] + 2 * spacing[0] * axes[:, 1]
    np.testing.assert_allclose(at, expected, atol=1e-4)
    assert grid.spacing[1:] == spacing


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(7)))
def test_any_order_of_files_gives_the_same_volume(tmp_path_factory, order):
    array = phantom(7, rows=20, columns=6)
    folder = write_series(tmp_path_factory.mktemp("data"), "d", list(ct(array)))
    files = sorted(folder.iterdir())
    volume = Frames.of_files([files[i] for i in order], "d").volume()
    np.testing.assert_array_equal(volume.array, array)
    assert [uid for uid, _ in volume.instances] == [uid for uid, _ in Frames.of_files(files, "d").volume().instances]


@given(order=st.permutations(range(6)))
def test_planes_without_places_have_one_order_too(order):
    axes = np.eye(3)
    planes = [plane(k, (0, 0, 0), axes, (1.0, 1.0)) for k in range(6)]
    assert geometry.in_order([planes[i] for i in order]) == planes
