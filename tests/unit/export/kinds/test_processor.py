"""What processors' settings say about the size of images."""

import json
from pathlib import Path

import pytest

from export.errors import CheckpointUnsupported
from export.kinds import processor


def write(directory: Path, settings: object, name: str = "preprocessor_config.json") -> Path:
    (directory / name).write_text(json.dumps(settings))
    return directory


@pytest.mark.parametrize(
    ("settings", "size", "place"),
    [
        ({"size": 224}, (224, 224), "size"),
        ({"size": {"height": 384, "width": 512}}, (384, 512), "size"),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224},
         (224, 224), "crop_size"),
        ({"size": 256, "do_center_crop": False, "crop_size": 224}, (256, 256), "size"),
        ({"size": {"shortest_edge": 800}, "pad_size": {"height": 640, "width": 960}},
         (640, 960), "pad_size"),
    ],
)  # fmt: skip
def test_the_last_step_fixes_the_size(
    settings: object, size: tuple[int, int], place: str, tmp_path: Path
) -> None:
    assert processor.read(write(tmp_path, settings)).fixed_size() == (size, place)


def test_proportions_that_are_kept_fix_no_size(tmp_path: Path) -> None:
    settings = {"size": {"shortest_edge": 800, "longest_edge": 1333}}
    found = processor.read(write(tmp_path, settings))
    assert found.fixed_size() is None
    assert (found.shortest_edge(), found.longest_edge()) == (800, 1333)


def test_settings_are_found_inside_the_newer_file(tmp_path: Path) -> None:
    write(tmp_path, {"image_processor": {"size": 96}, "x": 1}, "processor_config.json")
    found = processor.read(tmp_path)
    assert found.name == "processor_config.json"
    assert found.fixed_size() == ((96, 96), "size")


def test_a_checkpoint_without_settings_has_none(tmp_path: Path) -> None:
    found = processor.read(tmp_path)
    assert found.name is None
    assert found.fixed_size() is None
    found.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]"])
def test_settings_that_cannot_be_read_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(CheckpointUnsupported, match=r"preprocessor_config\.json"):
        processor.read(tmp_path)
