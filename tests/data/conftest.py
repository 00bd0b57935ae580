"""A small tokenizer and a small task of sentence pairs."""

import pytest
import tiny_text


@pytest.fixture
def tokenizer(tmp_path):
    return tiny_text.write_tokenizer(tmp_path / "encoder")


@pytest.fixture
def folder(tmp_path):
    return tiny_text.write_pairs(tmp_path / "task")
