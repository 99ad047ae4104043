import json
from pathlib import Path

import pytest

from export.errors import CheckpointUnsupported
from export.sentence import read

TRANSFORMER = {"path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
NORMALIZE = {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def write(directory: Path, modules: object, pooling: object = None, **files: object) -> Path:
    (directory / "modules.json").write_text(json.dumps(modules))
    if pooling is not None:
        (directory / "1_Pooling").mkdir()
        (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


def test_mean_pooling_with_normalisation_is_read(tmp_path: Path) -> None:
    recipe = read(write(tmp_path, [TRANSFORMER, POOLING, NORMALIZE], MEAN))
    assert (recipe.mode, recipe.normalize, recipe.max_tokens) == ("mean", True, None)
    assert recipe.notes == ()


def test_cls_pooling_without_normalisation_is_read(tmp_path: Path) -> None:
    recipe = read(write(tmp_path, [TRANSFORMER, POOLING], {"pooling_mode_cls_token": True}))
    assert (recipe.mode, recipe.normalize) == ("cls", False)


def test_pooling_mode_by_name_is_read(tmp_path: Path) -> None:
    assert read(write(tmp_path, [TRANSFORMER, POOLING], {"pooling_mode": "cls"})).mode == "cls"


def test_classes_that_moved_to_another_package_are_known_by_their_names(tmp_path: Path) -> None:
    moved = {"path": "1_Pooling", "type": "sentence_transformers.elsewhere.pooling.Pooling"}
    assert read(write(tmp_path, [TRANSFORMER, moved], MEAN)).mode == "mean"


def test_the_longest_sequence_is_read(tmp_path: Path) -> None:
    directory = write(
        tmp_path, [TRANSFORMER, POOLING], MEAN, sentence_bert_config={"max_seq_length": 256}
    )
    assert read(directory).max_tokens == 256


def test_a_plain_transformer_gets_mean_pooling_and_a_note(tmp_path: Path) -> None:
    recipe = read(tmp_path)
    assert (recipe.mode, recipe.normalize) == ("mean", False)
    assert "mean pooling without normalisation" in recipe.notes[0]


def test_a_default_prompt_is_noted(tmp_path: Path) -> None:
    prompts = {"default_prompt_name": "query"}
    directory = write(tmp_path, [TRANSFORMER, POOLING], MEAN, config_sentence_transformers=prompts)
    assert "prompt 'query'" in read(directory).notes[0]


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        (
            [TRANSFORMER, POOLING],
            {"pooling_mode_weightedmean_tokens": True},
            "pooling mode is weightedmean",
        ),
        (
            [TRANSFORMER, POOLING],
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "mean and cls",
        ),
        ([TRANSFORMER, POOLING], {}, "pooling mode is none"),
        ([TRANSFORMER, POOLING], {**MEAN, "include_prompt": False}, "include_prompt"),
        ([TRANSFORMER, POOLING], None, "1_Pooling/config.json is missing"),
        ([TRANSFORMER, {"type": "models.LSTM"}], None, "modules.json names LSTM"),
        (
            [TRANSFORMER, {"type": "models.Normalize"}, {"type": "models.Dense"}],
            None,
            "modules.json names Dense",
        ),
        ([TRANSFORMER], None, "names no Pooling"),
        ([{"path": ""}], None, "needs a 'type'"),
        ({}, None, "not a list"),
    ],
)
def test_what_the_graph_would_not_do_is_refused_by_name(
    tmp_path: Path, modules: object, pooling: object, message: str
) -> None:
    with pytest.raises(CheckpointUnsupported, match=message):
        read(write(tmp_path, modules, pooling))


def test_a_length_that_is_no_positive_number_is_refused(tmp_path: Path) -> None:
    directory = write(
        tmp_path, [TRANSFORMER, POOLING], MEAN, sentence_bert_config={"max_seq_length": "many"}
    )
    with pytest.raises(CheckpointUnsupported, match="max_seq_length is 'many'"):
        read(directory)


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(CheckpointUnsupported, match=r"modules\.json is not JSON"):
        read(tmp_path)
