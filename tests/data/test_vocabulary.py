import time

import numpy as np
import pytest

from fovea.data.vocabulary import SPECIAL, Vocabulary, tokenize

SENTENCES = ["A man, a plan.", "A canal: Panama!", "the man"]


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A man riding a wave.", ["a", "man", "riding", "a", "wave"]),
        ("Don't  stop--the SURFER's on!", ["don't", "stop", "the", "surfer's", "on"]),
        ("It’s 'quoted' rock'n'roll", ["it's", "quoted", "rock'n'roll"]),
        ("two-way, 3 cats_dogs\n", ["two", "way", "3", "cats", "dogs"]),
        ("Žlutý kůň 猫", ["žlutý", "kůň", "猫"]),
        (" ... ", []),
    ],
)
def test_words_are_lower_case_without_marks(sentence, words):
    assert tokenize(sentence) == words


def test_frequent_words_come_first_and_ties_by_the_alphabet():
    vocabulary = Vocabulary.build(SENTENCES)
    assert vocabulary.words == ["a", "man", "canal", "panama", "plan", "the"]
    assert Vocabulary.build(reversed(SENTENCES)).words == vocabulary.words
    assert len(vocabulary) == 10 and tuple(vocabulary.tokens[:4]) == SPECIAL


def test_sentences_become_numbers_and_words_again():
    vocabulary = Vocabulary.build(SENTENCES)
    ids = vocabulary.encode("The Man, a PLAN?")
    assert ids.tolist() == [1, 9, 5, 4, 8, 2] and ids.dtype == np.int64
    assert vocabulary.decode(ids) == "the man a plan"
    assert vocabulary.encode("the elephant").tolist() == [1, 9, 3, 2]
    assert vocabulary.decode([1, 9, 3, 2]) == "the <unk>"
    assert vocabulary.decode([1, 4, 5, 2, 5, 0, 0]) == "a man" and vocabulary.decode([0, 4, 0]) == "a"
    assert vocabulary.encode("").tolist() == [1, 2] and vocabulary.decode([]) == ""


def test_a_long_sentence_loses_words_but_not_its_end():
    vocabulary = Vocabulary.build(SENTENCES)
    assert vocabulary.encode("a man a plan", max_length=4).tolist() == [1, 4, 5, 2]
    assert vocabulary.encode("a man a plan", max_length=6).tolist() == [1, 4, 5, 4, 8, 2]
    assert vocabulary.encode("a man a plan", max_length=2).tolist() == [1, 2]


def test_the_plain_words_rebuild_it():
    vocabulary = Vocabulary.build(SENTENCES)
    again = Vocabulary(vocabulary.words)
    assert type(vocabulary.words) is list and again.tokens == vocabulary.tokens
    assert again.encode("a canal").tolist() == vocabulary.encode("a canal").tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Vocabulary(["a", "b", "a"]), "'a'"),
        (lambda: Vocabulary(["<pad>"]), "'<pad>'"),
        (lambda: Vocabulary.build("a man"), "one string"),
        (lambda: Vocabulary(["a"]).encode("a", max_length=1), "max_length=1"),
        (lambda: Vocabulary(["a"]).decode([5]), "id 5 .* 0 to 4"),
        (lambda: Vocabulary(["a"]).decode([-1]), "id -1 "),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.alone
def test_many_sentences_take_little_time():
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(5000)])
    sentences = [" ".join(row) + "." for row in words[rng.integers(0, 5000, (20_000, 10))]]
    start = time.process_time()
    assert len(Vocabulary.build(sentences)) == 5004
    assert time.process_time() - start < 2  # the 590,000 captions of COCO: a few seconds
