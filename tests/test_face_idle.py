"""The idle loop: it joins, it blinks, and a mouth laid on it shows no seam."""

import cv2
import numpy as np
import pytest

from models.training.face import idle, view


def test_the_end_joins_the_beginning() -> None:
    first, after = idle.motion(0), idle.motion(idle.COUNT)
    np.testing.assert_allclose(first.head, after.head, atol=1e-9)
    assert first.breath == pytest.approx(after.breath)
    assert {first.eyes, idle.motion(idle.COUNT - 1).eyes} == {"open"}


def test_the_head_moves_little_and_smoothly() -> None:
    corner = np.array([view.MOUTH_BOX[0], view.MOUTH_BOX[1], 1.0])
    path = np.stack([idle.motion(i).head @ corner for i in range(idle.COUNT)])
    step = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert np.abs(path - path.mean(0)).max() < 10
    assert 0 < step.max() < 0.6


def test_blinks_are_few_and_not_evenly_spaced() -> None:
    eyes = [idle.motion(i).eyes for i in range(idle.COUNT)]
    starts = [i for i, name in enumerate(eyes) if name == idle.BLINK[0] and eyes[i - 1] not in idle.BLINK]
    assert len(starts) == len(idle.BLINKS)
    assert len(set(np.diff(starts))) == len(starts) - 1


def test_the_mask_is_whole_inside_and_nothing_at_the_border() -> None:
    cover = idle.mask()
    assert cover.shape == (view.MOUTH, view.MOUTH)
    border = np.concatenate([cover[0], cover[-1], cover[:, 0], cover[:, -1]])
    assert border.max() == 0
    inner = cover[idle.FEATHER + 1 : -idle.FEATHER - 1, 40:-40]
    assert inner.min() >= 254
    np.testing.assert_array_equal(cover, cover[::-1, ::-1])


@pytest.mark.parametrize("number", [0, 61, 187])
def test_the_warp_is_the_placement_wherever_a_mouth_shows(number: int) -> None:
    rows, columns = np.mgrid[0 : view.SIZE, 0 : view.SIZE].astype(np.float32)
    still = np.stack([columns / 3, rows / 3, (columns + rows) / 5], -1)
    move = idle.motion(number)
    moved = idle.warp(still, np.zeros_like(still), move)
    left, top, right, bottom = view.MOUTH_BOX
    patch = np.ascontiguousarray(still[top:bottom, left:right])
    laid = idle.lay(moved, patch, idle.mask(), move.placement)
    assert np.abs(laid - moved).max() < 0.1


def test_what_is_below_the_head_only_breathes() -> None:
    rows, columns = np.mgrid[0 : view.SIZE, 0 : view.SIZE].astype(np.float32)
    still = np.stack([columns / 3, rows / 3, rows * 0], -1)
    deepest = idle.motion(round(idle.COUNT / idle.BREATHS / 2))
    moved = idle.warp(still, np.zeros_like(still), deepest)
    bottom = slice(view.SIZE - 12, view.SIZE - 6)
    np.testing.assert_allclose(moved[bottom, 20:-20, 0], still[bottom, 20:-20, 0], atol=0.05)
    risen = 3 * (moved[bottom, 20:-20, 1] - still[bottom, 20:-20, 1])
    np.testing.assert_allclose(risen, idle.BREATH * deepest.breath, atol=0.05)


def test_placement_is_what_opencv_takes() -> None:
    move = idle.motion(33)
    spot = np.zeros((view.MOUTH, view.MOUTH), np.float32)
    spot[80, 80] = 1
    landed = cv2.warpAffine(spot, move.placement, (view.SIZE, view.SIZE))
    y, x = np.unravel_index(landed.argmax(), landed.shape)
    wanted = move.head @ [view.MOUTH_BOX[0] + 80, view.MOUTH_BOX[1] + 80, 1]
    assert np.hypot(x - wanted[0], y - wanted[1]) < 1
