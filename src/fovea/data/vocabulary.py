"""Turn sentences into numbers and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fovea.data.subset import Subset

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def tokenize(sentence: str) -> list[str]:
    """Split a sentence into lower-case words: runs of letters and digits of any script.

    An apostrophe inside of a word stays (`don't`), any other mark separates words and is dropped.
    """
    return _WORD.findall(sentence.lower().replace("’", "'"))


class Vocabulary:
    """Number words from 4 on, in the order given; 0 pads, 1 starts, 2 ends, 3 is any other word."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)  # plain, so that a checkpoint can hold them
        self.tokens = [*SPECIAL, *self.words]
        self._ids = {word: number for number, word in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens):
            twice = next(word for word, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"the word {twice!r} is there twice, or special: each has one number")

    @classmethod
    def build(cls, sentences: Iterable[str]) -> Vocabulary:
        """Number the words of all sentences, frequent ones first, equally frequent ones by the alphabet."""
        if isinstance(sentences, str):
            raise ValueError("sentences is one string: give a list of sentences")
        counts: Counter[str] = Counter()
        for sentence in sentences:
            counts.update(tokenize(sentence))
        return cls(sorted(counts, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, sentence: str, *, max_length: int | None = None) -> np.ndarray:
        """Return int64 (T,): start, the words, end. Beyond `max_length` words are dropped, never the end."""
        if max_length is not None and max_length < 2:
            raise ValueError(f"max_length={max_length} leaves no room for start and end: set 2 or more")
        words = tokenize(sentence)
        if max_length is not None:
            words = words[: max_length - 2]
        return np.array([START, *(self._ids.get(word, UNKNOWN) for word in words), END], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """Join the words of ids up to the first end; ValueError names an id that is too high."""
        words = []
        for number in map(int, ids):
            if not 0 <= number < len(self.tokens):
                raise ValueError(
                    f"the id {number} is not a word: this vocabulary has ids 0 to {len(self) - 1}"
                )
            if number == END:
                break
            if number not in (PAD, START):
                words.append(self.tokens[number])
        return " ".join(words)


def vocabulary_of(train: Subset) -> Vocabulary:
    """Take the words that the data set names, or those of the training captions."""
    known = getattr(train.dataset, "vocabulary", None)
    if known is not None:
        return Vocabulary(known)
    dataset: Any = train.dataset
    return Vocabulary.build(text for i in train.indices for text in dataset.sentences(int(i)))
