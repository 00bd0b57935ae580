"""Sentence pairs as token ids, by the tokenizer in a folder as Hugging Face writes it.

The folder holds ``tokenizer.json``, or ``vocab.json`` and ``merges.txt`` of a RoBERTa (byte-level BPE, cased, without a space before the
first word). A pair is ``[CLS] A [SEP] B [SEP]`` with types 0 and 1, or ``<s> A </s></s> B </s>`` with types 0. Whatever padding and
truncation the file asks for is switched off: pairs are cut to the length that is asked for, ``longest_first``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from jknas.errors import DataError
from jknas.registry import optional

Sequences = Int32[np.ndarray, "n 3 t"]
"""Of each sequence the ids of its tokens, their types, and 1 where there is a token, 0 where there is padding."""

_JSON, _VOCABULARY, _MERGES = "tokenizer.json", "vocab.json", "merges.txt"
_PADDING = ("[PAD]", "<pad>")
_MULTIPLE = 8  # lengths of sequences are rounded up to a multiple, so that few programs are compiled


@dataclass(frozen=True, eq=False)
class PairTokenizer:
    """A tokenizer of sentence pairs.

    Attributes:
        backend: the ``tokenizers.Tokenizer``.
        padding: the id of padding.
        vocabulary: number of ids.
        digest: SHA-256 of the files.
    """

    backend: Any
    padding: int
    vocabulary: int
    digest: str

    def encode(self, pairs: Sequence[tuple[str, str]], *, longest: int) -> list[Any]:
        """Return the encodings of pairs, cut to ``longest`` tokens; they have ``ids`` and ``type_ids``."""
        self.backend.no_padding()
        self.backend.enable_truncation(longest, strategy="longest_first")
        found: list[Any] = self.backend.encode_batch(list(pairs))
        return found

    def sequences(self, pairs: Sequence[tuple[str, str]], *, length: int) -> Sequences:
        """Return pairs as arrays of ``length`` tokens: cut, and filled up with padding."""
        return filled(self.encode(pairs, longest=length), length, self.padding)


def filled(encodings: Sequence[Any], length: int, padding: int) -> Sequences:
    """Return encodings as an array, filled up with padding."""
    tokens = np.zeros((len(encodings), 3, length), np.int32)
    tokens[:, 0] = padding
    for row, encoding in enumerate(encodings):
        count = len(encoding.ids)
        tokens[row, :, :count] = encoding.ids, encoding.type_ids, np.ones(count, np.int32)
    return tokens


def common_length(encodings: Sequence[Any], longest: int) -> int:
    """Return the length that holds all encodings, a multiple of 8 or ``longest``."""
    most = max(len(encoding.ids) for encoding in encodings)
    return min(longest, -(-most // _MULTIPLE) * _MULTIPLE)


def tokenizer_digest(folder: Path) -> str:
    """Return the SHA-256 of the files of a tokenizer.

    Raises:
        DataError: they are missing.
    """
    return hashlib.sha256(b"".join(_content(folder).values())).hexdigest()


def read_tokenizer(folder: Path) -> PairTokenizer:
    """Read the tokenizer of a folder.

    Raises:
        DataError: the package tokenizers or the files are missing, or they cannot be read.
    """
    message = 'texts are tokenised with the package tokenizers: pip install "jknas[text]".'
    tokenizers = optional("tokenizers", message, error=DataError)
    content = _content(folder)
    try:
        backend = tokenizers.Tokenizer.from_str(content[_JSON].decode("utf-8")) if _JSON in content else _roberta(folder)
    except Exception as error:  # tokenizers raises Exception itself for what it cannot read
        raise DataError(f"the tokenizer in {folder} cannot be read ({str(error)[:200]}): get {', '.join(content)} again.") from error
    padding = next((found for found in map(backend.token_to_id, _PADDING) if found is not None), None)
    if padding is None:
        raise DataError(
            f"the tokenizer in {folder} has no token for padding; expected {' or '.join(_PADDING)}: use a BERT's or a RoBERTa's."
        )
    return PairTokenizer(backend, padding, backend.get_vocab_size(), tokenizer_digest(folder))


def _content(folder: Path) -> dict[str, bytes]:
    """Return the files of a tokenizer by name."""
    names = (_JSON,) if (folder / _JSON).is_file() else (_VOCABULARY, _MERGES)
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise DataError(f"{folder} holds no tokenizer ({error.strerror}): expected {_JSON}, or {_VOCABULARY} and {_MERGES}.") from error


def _roberta(folder: Path) -> Any:
    """Build RoBERTa's tokenizer, as its paper and fairseq describe it, from its two files."""
    import tokenizers  # noqa: PLC0415
    from tokenizers import models, pre_tokenizers, processors  # noqa: PLC0415

    vocabulary, merges = models.BPE.read_file(str(folder / _VOCABULARY), str(folder / _MERGES))
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    end, start = ((token, vocabulary[token]) for token in ("</s>", "<s>"))
    backend.post_processor = processors.RobertaProcessing(end, start)
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return backend
