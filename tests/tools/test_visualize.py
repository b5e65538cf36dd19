"""tools/visualize.py: the four pictures, what they show, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image
from reid_commands import arguments, visualize
from reid_commands.visualize import attention
from reid_common import pictures
from reid_common.errors import UserError
from reid_core.run.command_line import parse_command
from transreid.inference.feature_files import Ranking, write_ranking
from transreid.inference.trained_model import build_trained_model, inference_config
from transreid.modeling.side_embedding import SideInformationEmbedding
from transreid.visualize import model_pictures
from transreid.visualize.attention import attention_maps

CONFIG = str(
    Path(__file__).parents[2] / "projects/TransReID/configs/ToyReID/vit_tiny_transreid.yml"
)
SMALL = ["MODEL.BACKBONE.NUM_BLOCKS", "2"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights of a two-block TransReID for 8 cameras and 3 views."""
    torch.manual_seed(0)
    model = build_trained_model(inference_config(CONFIG, "", SMALL))
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.fixture
def images(tmp_path) -> list[str]:
    rng, paths = np.random.default_rng(0), []
    for number, size in enumerate([(96, 40), (64, 32), (30, 60)]):  # (H, W)
        paths.append(str(tmp_path / f"image{number}.png"))
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def model_words(command: str, weights: Path, *more: str) -> list[str]:
    words = [command, *more, "--config-file", CONFIG, "--weights", str(weights)]
    return [*words, "--device", "cpu", "--opts", *SMALL]


def refused(words: list[str], capsys) -> str:
    """The message of a command that fails as bad input does."""
    with pytest.raises(SystemExit) as end:
        visualize.main(words)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_attention_draws_the_maps_of_every_image(images, weights, tmp_path, monkeypatch) -> None:
    drawn: list[model_pictures.AttentionRow] = []
    draw = model_pictures.draw_attention

    def draw_and_keep(rows: list, out: Path, title: str) -> None:
        drawn.extend(rows)
        draw(rows, out, title)

    monkeypatch.setattr(model_pictures, "draw_attention", draw_and_keep)
    out = tmp_path / "new" / "attention.png"
    words = model_words("attention", weights, *images, "-o", str(out), "--batch-size", "2")
    visualize.main([*words, "MODEL.JPM.GLOBAL_ONLY", "True"])  # the parts are drawn all the same
    names = ["rollout", "last block", "part 1", "part 2", "part 3", "part 4"]
    assert [list(row.maps) for row in drawn] == [names] * 3
    assert [row.name for row in drawn] == ["image0", "image1", "image2"]
    with Image.open(out) as picture:
        assert len(picture.convert("RGB").getcolors(2**24)) > 1000
    assert [path.name for path in out.parent.iterdir()] == ["attention.png"]

    model = build_trained_model(inference_config(CONFIG, weights, SMALL))
    pixels = torch.from_numpy(np.stack([row.image for row in drawn])).permute(0, 3, 1, 2).float()
    unknown = torch.full((3,), -1)
    batch = {"images": pixels, "camids": unknown, "viewids": unknown}
    maps = attention_maps(model, batch)
    for row, rollout, part in zip(drawn, maps.rollout, maps.parts[:, 2], strict=True):
        # Pixel (0, 0) is beyond the first patch's centre; 10 x 5 patches and [cls] are 51 tokens,
        # 12 patches of a part and [cls] 13. `row.image` is rounded to whole pixels.
        assert row.maps["rollout"][0, 0] == pytest.approx(51 * float(rollout[0, 0]), rel=2e-2)
        seen = np.isfinite(row.maps["part 3"][7:116:12, 7:56:12])  # centres of patches
        assert np.array_equal(seen, part.isfinite().numpy())
        assert np.nanmax(row.maps["part 3"]) == pytest.approx(13 * np.nanmax(part), rel=2e-2)


def test_camera_and_view_of_the_images_count(images, weights) -> None:
    def rollout(*more: str) -> np.ndarray:
        words = model_words("attention", weights, images[0], "-o", "a.png", *more)
        args = parse_command(attention.parser(), words[1:])
        extractor = arguments.build_extractor(args)
        (row,) = model_pictures.attention_rows(extractor, args.images, args.camera, args.view)
        return row.maps["rollout"]

    assert np.array_equal(rollout(), rollout())
    assert not np.array_equal(rollout(), rollout("--camera", "7"))
    assert not np.array_equal(rollout("--camera", "7"), rollout("--camera", "7", "--view", "2"))


def test_overlay_by_hand() -> None:
    image = np.full((1, 4, 3), 100, np.uint8)
    laid = model_pictures.overlay(image, np.array([[1.0, 3.0, np.nan, 2.0]]))[0].astype(int)
    lowest, highest, unseen, _ = laid
    assert lowest[2] > lowest[0] and highest[0] > highest[2]  # blue, red
    assert unseen.tolist() == [25, 25, 25]
    flat = model_pictures.overlay(image, np.full((1, 4), 0.02))[0]
    assert np.array_equal(flat, np.repeat(laid[:1], 4, axis=0))


def ranking(images: list[str], **ids) -> Ranking:
    """Query 0 finds images 1 and 2; query 1 finds image 0 only."""
    indices = np.array([[1, 2], [0, -1]])
    similarities = np.array([[0.9, 0.25], [0.5, -np.inf]], np.float32)
    return Ranking(images[:2], images, indices, similarities, **ids)


def test_rank_frames_right_wrong_and_unknown(images, tmp_path, figures) -> None:
    known = {"query_pids": np.array([4, -1]), "gallery_pids": np.array([9, 4, 5])}
    cameras = {"query_camids": np.array([0, -3]), "gallery_camids": np.array([2, 1, -1])}
    write_ranking(tmp_path / "r.npz", ranking(images, **known, **cameras))
    visualize.main(["rank", str(tmp_path / "r.npz"), "-o", str(tmp_path / "r.png")])
    (axis,) = figures[0].axes
    assert [text.get_text() for text in axis.texts] == [
        "query 0\nid 4, c1",
        "id 4, c2\n0.900",
        "id 5\n0.250",
        "query 1\nimage1",
        "id 9, c3\n0.500",
    ]
    frames = [pictures.QUERY, pictures.GREEN, pictures.RED, pictures.QUERY, pictures.NEUTRAL]
    assert [text.get_color() for text in axis.texts] == frames
    edges = [patch.get_edgecolor() for patch in axis.patches]
    assert edges == [to_rgba(colour) for colour in frames]
    # Images keep their proportions: (96, 40), (64, 32) and (30, 60).
    shapes = [image.get_array().shape[:2] for image in axis.images]
    assert shapes[:3] == [(96, 40), (64, 32), (30, 60)]
    for image, frame, (height, width) in zip(axis.images, axis.patches, shapes, strict=True):
        left, right, bottom, top = image.get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(height / width)
        assert frame.get_bbox().extents == pytest.approx([left, top, right, bottom])


def test_rank_writes_chosen_queries(images, tmp_path, capsys) -> None:
    write_ranking(tmp_path / "r.npz", ranking(images))
    base = ["rank", str(tmp_path / "r.npz"), "-o", str(tmp_path / "r.svg"), "--top", "1"]
    visualize.main([*base, "--queries", "1"])
    text = (tmp_path / "r.svg").read_text()
    assert "query 1" in text and "query 0" not in text
    assert "queries 0..1" in refused([*base, "--queries", "2"], capsys)
    Path(images[0]).unlink()
    assert "image0.png (No such file" in refused(base, capsys)


def test_sie_labels_and_statistics_by_hand() -> None:
    sie = SideInformationEmbedding(3, 2, 4, sie_coe=2.0, camera_table="market1501:2,msmt17:1")
    rows = torch.zeros(6, 1, 4)
    # Cameras 0 and 1: cosine of their own two views 0.6, 0 across. Camera 2 is as camera 0, twice
    # as long: across cameras 0 and 2 it is 1 at the same view, 0.6 at the other.
    rows[0, 0, :2], rows[1, 0, :2] = torch.tensor([1.0, 0.0]), torch.tensor([0.6, 0.8])
    rows[2, 0, 2:], rows[3, 0, 2:] = torch.tensor([1.0, 0.0]), torch.tensor([0.6, 0.8])
    rows[4:] = 2 * rows[:2]
    sie.sie_embed.data = rows
    assert model_pictures.sie_labels(sie) == [
        *("market1501 c1 v0", "market1501 c1 v1", "market1501 c2 v0", "market1501 c2 v1"),
        *("msmt17 c1 v0", "msmt17 c1 v1"),
    ]
    text = model_pictures.sie_statistics(sie)
    # Norms 1, 1, 1, 1, 2, 2 times lambda 2.
    assert "6 rows (3 cameras, 2 views)" in text
    assert "mean 2.667, least 2.000, most 4.000 (about 0.080 before" in text
    assert "same camera, other view: 0.600" in text
    assert "other camera, same view: 0.333" in text  # one pair of cameras in three
    assert "other camera, other view: 0.200" in text
    # Camera 2's second view was never seen: its row counts nowhere.
    sie.note_training_images([0, 0, 1, 1, 2], [0, 1, 0, 1, 0])
    assert model_pictures.sie_labels(sie)[-2:] == ["msmt17 c1 v0", "msmt17 c1 v1 (untrained)"]
    text = model_pictures.sie_statistics(sie)
    assert "not in the training set, their images count as unknown: msmt17 c1 v1\n" in text
    assert "mean 2.400, least 2.000, most 4.000" in text  # 1, 1, 1, 1, 2 times 2
    assert "other camera, same view: 0.250" in text  # 0, 0, 1 at the first view, 0 at the second
    views = SideInformationEmbedding(0, 2, 4)
    assert model_pictures.sie_labels(views) == ["v0", "v1"]
    unnamed = SideInformationEmbedding(2, 0, 4)
    assert model_pictures.sie_labels(unnamed) == ["row 0", "row 1"]
    assert "mean cosine, of two rows" in model_pictures.sie_statistics(unnamed)


def test_sie_draws_the_table_of_the_weights(weights, tmp_path, figures, capsys) -> None:
    visualize.main(model_words("sie", weights, "-o", str(tmp_path / "s.png")))
    axis = figures[0].axes[0]
    table = torch.load(weights)["model"]["backbone.sie.sie_embed"].flatten(1)
    expected = torch.nn.functional.cosine_similarity(table[:, None], table[None], dim=2)
    np.testing.assert_allclose(axis.images[0].get_array(), expected, atol=1e-5)
    assert len(axis.get_xticklabels()) == 24
    assert "24 rows (8 cameras, 3 views)" in capsys.readouterr().out
    with pytest.raises(UserError, match="no side information"):
        model_pictures.sie_of(torch.nn.Linear(1, 1))


def test_large_tables_are_labelled_at_each_camera(tmp_path, figures) -> None:
    sie = SideInformationEmbedding(20, 8, 4, camera_table="veri:20")
    model_pictures.draw_sie(sie, tmp_path / "s.png", "")
    labels = [text.get_text() for text in figures[0].axes[0].get_yticklabels()]
    assert labels == [f"c{camera} v0" for camera in range(1, 21)]


@pytest.mark.parametrize(
    "words, message",
    [
        (["curves", "nowhere", "-o", "c.png"], "no 'nowhere'; name the OUTPUT_DIR"),
        (["curves", "nowhere", "-o", "c.jpeg"], "'c.jpeg' is no name of a picture"),
        (["curves", "nowhere", "-o", "folder.png"], "is a folder"),
        (["rank", "none.npz", "-o", "r.png"], "no ranking 'none.npz'"),
        (["attention", "--config-file", CONFIG, "a.jpg", "-o", "a.png"], "a.jpg (No such file"),
        (["attention", "--config-file", CONFIG, *["a"] * 41, "-o", "a.png"], "at most 40"),
        (["sie", "--config-file", CONFIG, "-o", "s.png"], "no weights given"),
        (["sie", "--config-file", CONFIG, "--weights", "w.pth", "-o", "s.png"], "w.pth"),
    ],
    ids=lambda value: None if isinstance(value, list) else value,
)
def test_bad_input_is_one_message(words, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    error = refused(words, capsys)
    assert error.startswith("error: ") and message in error
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_an_empty_run_and_a_model_without_vit_are_refused(tmp_path, images, capsys) -> None:
    (tmp_path / "metrics.json").touch()
    assert "no measurements yet" in refused(["curves", str(tmp_path), "-o", "c.png"], capsys)
    resnet = str(Path(CONFIG).with_name("bagtricks_R18.yml"))
    model = build_trained_model(inference_config(resnet, ""))
    torch.save({"model": model.state_dict()}, tmp_path / "r18.pth")
    base = ["--config-file", resnet, "--weights", str(tmp_path / "r18.pth"), "--device", "cpu"]
    error = refused(["attention", images[0], *base, "-o", "a.png"], capsys)
    assert "need a model with a TransReIDBackbone, not Baseline with ResNet" in error
    assert "no side information" in refused(["sie", *base, "-o", "s.png"], capsys)
