"""Parse the captions back and compare them with what is in the scene."""

import re
from collections import Counter

import numpy as np
import pytest

from fovea.data.datasets.scenes import Scenes
from fovea.data.scenes.colours import COLOURS
from fovea.data.scenes.cover import windows
from fovea.data.scenes.language import vocabulary
from fovea.data.scenes.paint import border, softness
from fovea.data.scenes.plan import make_plan
from fovea.data.scenes.shapes import SHAPES
from fovea.data.scenes.textures import TEXTURES
from fovea.data.scenes.visible import find

NUMBERS = ["", "one", "two", "three", "four", "five", "six", "seven", "eight"]
SINGULAR = {f"{s}{'es' if s in ('cross',) else 's'}": s for s in (*SHAPES, "shape")}
ADJECTIVES = rf"(?:(small|large) )?(?:({'|'.join(COLOURS)}) )?(?:({'|'.join(TEXTURES)}) )?"
THING = rf"(?:a|an) {ADJECTIVES}({'|'.join(SHAPES)})"
THINGS = rf"({'|'.join(NUMBERS[2:])}) {ADJECTIVES}({'|'.join(p for p in SINGULAR if p != 'shapes')})"
PLACES = ["left of", "right of", "above", "below", "in front of", "behind"]


def scene_facts(difficulty, count=400, max_objects=6):
    """What each caption may speak of, from the plan, the instance maps and the boxes."""
    scenes = Scenes(difficulty=difficulty, max_objects=max_objects)
    index, size = np.arange(count), scenes.size
    plan = make_plan(index, seed=0, split="train", size=size, difficulty=difficulty, max_objects=max_objects)
    win = windows(plan, size=size, pad=border(size), soft=softness(size))
    found = find(plan, win, size=size, pad=border(size))
    made = scenes.load_many(index)
    for i in index:
        slots = found.slot[found.scene == i]
        assert [SHAPES[k] for k in made["labels"][i]] == [SHAPES[plan.shape[i, s]] for s in slots]
        whole = {s: whole_pixels(win, i, s) for s in slots}
        things = [
            {
                "shape": SHAPES[made["labels"][i][row]], "colour": COLOURS[plan.colour[i, s]],
                "texture": TEXTURES[plan.texture[i, s]], "box": box, "slot": s, "pixels": whole[s],
                "area": plan.area[i, s],
            }
            for row, (s, box) in enumerate(zip(slots, made["boxes"][i], strict=True))
            if not made["ignore"][i][row]
        ]  # fmt: skip
        yield things, made["captions"][i]


def whole_pixels(win, scene, slot):
    (number,) = np.flatnonzero((win.scene == scene) & (win.slot == slot))
    own = slice(win.start[number], win.start[number + 1])
    return set(win.at[own][win.depth[own] >= 0].tolist())


def fits(thing, words):
    size, colour, texture, shape = words
    return (
        (not colour or thing["colour"] == colour)
        and (not texture or thing["texture"] == texture)
        and (not size or (thing["area"] < 0.05 if size == "small" else thing["area"] > 0.08))
        and (shape in ("", thing["shape"]))
    )


def holds(a, place, b):
    ax, ay, bx, by = *(a["box"][:2] + a["box"][2:]) / 2, *(b["box"][:2] + b["box"][2:]) / 2
    if place in ("in front of", "behind"):
        front, back = (a, b) if place == "in front of" else (b, a)
        return front["slot"] > back["slot"] and bool(front["pixels"] & back["pixels"])
    gap = {"left of": bx - ax, "right of": ax - bx, "above": by - ay, "below": ay - by}[place]
    return gap > 0.14 * 64


def true(sentence, things):
    """Whether a sentence is of the grammar and true."""
    if match := re.fullmatch(rf"there is {THING}", sentence):
        return any(fits(t, match.groups()) for t in things)
    if match := re.fullmatch(rf"a single {ADJECTIVES}({'|'.join(SHAPES)})", sentence):
        return len(things) == 1 and fits(things[0], match.groups())
    if match := re.fullmatch(
        rf"there is only one (?:({'|'.join(COLOURS)})|({'|'.join(TEXTURES)})) shape", sentence
    ):
        return sum(fits(t, ("", *match.groups(), "")) for t in things) == 1
    kinds = rf"(?:({'|'.join(COLOURS)})|({'|'.join(TEXTURES)}))"
    if match := re.fullmatch(rf"there are (\w+) {kinds} shapes", sentence):
        number, *kind = match.groups()
        return sum(fits(t, ("", *kind, "")) for t in things) == NUMBERS.index(number) > 1
    if match := re.fullmatch(rf"{THING} and (\w+) other (shapes?)", sentence):
        *words, number, noun = match.groups()
        others = NUMBERS.index(number)
        grammatical = noun == ("shape" if others == 1 else "shapes")
        return grammatical and others == len(things) - 1 and any(fits(t, words) for t in things)
    if match := re.fullmatch(rf"{THING}(?: is)? ({'|'.join(PLACES)}) {THING}", sentence):
        a, place, b = match.groups()[:4], match.group(5), match.groups()[5:]
        return any(
            fits(s, a) and fits(t, b) and holds(s, place, t) for s in things for t in things if s is not t
        )
    return all(true_count(part, things) for part in sentence.split(" and "))


def true_count(part, things):
    if match := re.fullmatch(THING, part):
        return any(fits(t, match.groups()) for t in things)
    match = re.fullmatch(THINGS, part)
    assert match, f"not of the grammar: {part!r}"
    number, *words, plural = match.groups()
    same = [t for t in things if t["shape"] == SINGULAR[plural]]
    return len(same) == NUMBERS.index(number) and all(fits(t, (*words, SINGULAR[plural])) for t in same)


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_every_sentence_is_grammatical_and_true(difficulty):
    seen = Counter()
    for things, captions in scene_facts(difficulty):
        assert len(captions) == len(set(captions)) >= 3
        for sentence in captions:
            assert true(sentence, things), (sentence, things)
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", sentence), sentence
            seen.update(place for place in PLACES if f" {place} " in sentence)
    assert set(seen) == set(PLACES)


def test_a_wrong_sentence_is_found_out():
    things = [
        {"shape": "star", "colour": "red", "texture": "striped", "area": 0.15, "slot": 2, "pixels": {1, 2},
         "box": np.array([0.0, 0, 20, 20])},
        {"shape": "ring", "colour": "blue", "texture": "plain", "area": 0.02, "slot": 1, "pixels": {2, 3},
         "box": np.array([30.0, 0, 60, 20])},
    ]  # fmt: skip
    right = [
        "a red star left of a small blue ring",
        "a star and one other shape",
        "a star is in front of a ring",
    ]
    wrong = [
        "a blue star left of a ring",
        "a red star right of a ring",
        "two red stars",
        "a star and two other shapes",
        "a ring in front of a star",
        "a small star and a ring",
        "there are two red shapes",
        "a single star",
    ]
    assert all(true(s, things) for s in right) and not any(true(s, things) for s in wrong)


@pytest.mark.slow
def test_the_vocabulary_is_every_word_that_occurs():
    words = set()
    for difficulty in (0.2, 0.6, 1.0):
        captions = Scenes(annotation="captions", difficulty=difficulty).load_many(np.arange(1500))["captions"]
        words |= {word for references in captions for sentence in references for word in sentence.split()}
    known = vocabulary()
    assert known == sorted(set(known)) == Scenes().vocabulary and words <= set(known)
    rare = {"six", "seven", "eight", "nine", "ten", "eleven", "twelve", "four", "five"}
    assert set(known) - words <= rare


def test_captions_say_many_different_things():
    captions = Scenes(annotation="captions").load_many(np.arange(1000))["captions"]
    sentences = [s for references in captions for s in references]
    assert len(sentences) > 4500 and len(set(sentences)) > 0.5 * len(sentences)
    assert Counter(sentences).most_common(1)[0][1] < 0.05 * len(sentences)


def test_colour_names_are_the_colours_one_sees():
    """The hue of the visible pixels is that of the named colour, judged without the palette's own numbers."""
    hue = {
        "red": 0,
        "orange": 30,
        "yellow": 50,
        "green": 125,
        "teal": 180,
        "blue": 220,
        "purple": 271,
        "pink": 331,
    }
    right = total = 0
    for difficulty in (0.0, 0.5):
        scenes = Scenes(difficulty=difficulty)
        made = scenes.load_many(np.arange(300))
        plan = make_plan(
            np.arange(300), seed=0, split="train", size=(64, 64), difficulty=difficulty, max_objects=4
        )
        for i in range(300):
            r, g, b = made["image"][i][made["instances"][i] == 1].astype(float).mean(axis=0)
            angle = np.degrees(np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b))
            seen = min(hue, key=lambda name, a=angle: abs((a - hue[name] + 180) % 360 - 180))
            right, total = right + (seen == COLOURS[plan.colour[i, -1]]), total + 1
    assert right > 0.95 * total
