"""The commands of heed-serve and their usage."""

import pytest

from server.cli import COMMANDS, main


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    printed = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(f"\n  {name} " in printed for name in COMMANDS)


@pytest.mark.parametrize("command", ["bench", "tune", "simulate"])
def test_missing_operand_is_a_usage_error(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert f"usage: heed-serve {command} " in usage_error(capsys, command)


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    said = usage_error(capsys, "chekc")

    assert "unrecognized arguments: chekc" in said
    assert said.startswith("usage: heed-serve [command] [options]")


def test_options_in_force_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--threads", "3"]) == 0

    assert "threads = 3  # flag --threads\n" in capsys.readouterr().out


def test_serving_is_what_no_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["serve"]):
        assert main([*words, "--threads", "0"]) == 2
        assert "--threads 0: must be at least 1" in capsys.readouterr().err
