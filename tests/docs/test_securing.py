"""What deploy/README.md says about keys and certificates is what the server reads."""

import re
from dataclasses import fields
from pathlib import Path

import yaml

from server.config import ServerConfig
from server.rpc.keys import GROUPS, parse_keys

README = (Path(__file__).parents[2] / "deploy/README.md").read_text()


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.+?)```", README, re.DOTALL)
    assert isinstance(text, str)
    return text


def test_example_of_a_key_file_is_one() -> None:
    (key,) = parse_keys(block("toml"), "README")

    assert key.groups < set(GROUPS)


def test_every_group_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) >= set(GROUPS)


def test_kubernetes_example_names_options_of_the_server() -> None:
    flags = {word for word in yaml.safe_load(block("yaml"))["args"] if word.startswith("--")}

    assert flags <= {f"--{option.name.replace('_', '-')}" for option in fields(ServerConfig)}
