import pytest

from export.cli import main


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["minilm", "--task", "embed", "--version", "0"],
        ["minilm", "--task", "embed", "--version", "one"],
        ["minilm", "--task", "embed", "--precision", "int3"],
        ["minilm", "--task", "embed", "--budget", "2"],
        ["list", "minilm"],
        ["minilm", "--task", "embed", "--unknown"],
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: heed-export" in capsys.readouterr().err
