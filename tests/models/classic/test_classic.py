import gzip

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from fovea.models.classic import _cascade
from fovea.models.classic.haar_faces import HaarFaces, most_agreed
from fovea.models.classic.hog_svm import HogSVM
from fovea.models.classic.template_matching import TemplateMatching
from fovea.ops.box_losses import iou

NAN = float("nan")
# What cv2.CascadeClassifier of opencv-python-headless 4.14.0.94 gives, by scaleFactor=1.1 and minNeighbors=0
OPENCV = [
    [28, 24, 97, 93], [28, 25, 91, 88], [31, 22, 94, 85], [31, 25, 94, 88], [31, 29, 88, 86],
    [34, 29, 91, 86], [34, 31, 86, 83], [34, 34, 86, 86], [35, 35, 82, 82], [36, 29, 88, 81],
    [36, 31, 88, 83], [36, 34, 88, 86], [37, 29, 94, 86], [38, 31, 85, 78], [38, 33, 85, 80],
    [38, 35, 85, 82], [39, 31, 91, 83], [39, 34, 82, 77], [39, 34, 91, 86], [39, 36, 82, 79],
    [40, 33, 87, 80], [40, 35, 87, 82], [42, 35, 89, 82], [43, 39, 86, 82], [45, 36, 88, 79],
    [66, 44, 88, 66],
]  # fmt: skip
GROUPED = [36, 32, 88, 84]  # by minNeighbors=3


def face():
    """Return a photo (120, 120) with one face."""
    photo = cv2.cvtColor(data.astronaut()[0:240, 100:340], cv2.COLOR_RGB2GRAY)
    return torch.from_numpy(cv2.resize(photo, (120, 120), interpolation=cv2.INTER_AREA))


def planted(number=12, side=96):
    """Return images (N, 1, side, side) of class 0, a ring, or 1, a cross, in noise; label and box (N, 5)."""
    noise = np.random.default_rng(0)
    images, target = [], []
    for i in range(number):
        size = int(noise.integers(28, 40))
        x, y = noise.integers(2, side - size - 2, 2).tolist()
        image = noise.normal(0.5, 0.02, (side, side)).astype(np.float32)
        middle = (x + size // 2, y + size // 2)
        if i % 2:
            cv2.line(image, (x, y), (x + size, y + size), 0.9, 3)
            cv2.line(image, (x + size, y), (x, y + size), 0.9, 3)
        else:
            cv2.circle(image, middle, size // 2, 0.1, 3)
        images.append(image)
        target.append([i % 2, *(np.array([x, y, x + size, y + size]) / side)])
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(target, dtype=torch.float32)


def fitted(net, images, target, epochs=1):
    for _ in range(epochs):
        net.train().forget()
        for i in range(0, len(images), 5):
            net.observe(images[i : i + 5], net(images[i : i + 5]), target[i : i + 5])
        net.conclude()
    return net.eval()


NETS = {
    "template": lambda: TemplateMatching(num_classes=2, side=20, scales=[0.85, 1.0, 1.15], aspects=[1.0]),
    "hog": lambda: HogSVM(
        num_classes=2, side=32, cell=4, scales=[0.85, 1.0, 1.15], aspects=[1.0], penalty=1.0
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_what_is_planted_is_found_at_its_place_and_size(name):
    torch.manual_seed(0)
    images, target = planted(18)
    net = fitted(NETS[name](), images[:12], target[:12], epochs=2)
    output = net(images[12:])
    assert output.shape == (6, 6)
    assert torch.equal(output[:, :2].argmax(dim=1), target[12:, 0].long())
    assert float(iou(output[:, 2:], target[12:, 1:]).min()) > 0.5
    again = NETS[name]()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(images[12:]), output)  # all that was learnt lies in the buffers


@pytest.mark.parametrize("name", NETS)
def test_images_without_a_box_teach_nothing_and_tiny_ones_are_taken(name):
    torch.manual_seed(0)
    images, target = planted(10)
    alone = fitted(NETS[name](), images, target)
    torch.manual_seed(0)
    empty = torch.tensor([[1, NAN, NAN, NAN, NAN], [0, 0.5, 0.5, 0.5, 0.9]])
    net = NETS[name]()
    net.observe(images[:2], torch.zeros(2, 6), empty)
    mixed = fitted(net, images, target)
    for one, other in zip(alone.buffers(), mixed.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    net.forget()
    net.observe(images[:2], torch.zeros(2, 6), empty)
    net.conclude()
    assert not bool(net.observed.any())
    assert bool(mixed(torch.rand(1, 1, 1, 1)).isfinite().all())


@pytest.mark.parametrize("name", NETS)
def test_a_class_without_boxes_is_never_the_answer(name):
    images, target = planted(10)
    output = fitted(NETS[name](), images[::2], target[::2])(images)
    assert bool((output[:, 1] < output[:, 0]).all()) and bool(output.isfinite().all())


def test_concluding_in_mid_epoch_leaves_nothing_out():
    images, target = planted(10)
    net = fitted(NETS["template"](), images, target)
    other = NETS["template"]()
    for i in range(0, 10, 5):
        other.observe(images[i : i + 5], torch.zeros(5, 6), target[i : i + 5])
        other.conclude()
    torch.testing.assert_close(net.templates, other.templates)


def test_the_cascade_finds_what_opencv_finds():
    found = _cascade.Cascade(scale_factor=1.1)(face()[None, None].float())[0]
    hits = sorted(found.int().tolist())
    assert all(one in hits for one in OPENCV) and len(hits) <= len(OPENCV) + 1  # it skips some windows
    assert float((most_agreed(found, least=3) - torch.tensor(GROUPED)).abs().max()) < 1
    assert bool(most_agreed(found[-1:], least=3).isnan().all())


def test_a_damaged_cascade_is_refused(tmp_path):
    content = gzip.decompress(_cascade.FILE.read_bytes())
    assert b"Intel License Agreement" in content
    side, tensors = _cascade.read_cascade(_cascade.FILE)
    assert side == 20 and int(tensors["stages"].sum()) == len(tensors["rects"]) == 2135
    file = tmp_path / "cascade.xml.gz"
    file.write_bytes(gzip.compress(content.replace(b"213</maxWeakCount>", b"214</maxWeakCount>")))
    with pytest.raises(ValueError, match=r"cascade\.xml\.gz is damaged.*sha256"):
        _cascade.read_cascade(file)


def test_faces_are_told_by_what_the_cascade_finds_and_framed_as_annotated():
    photo = face().float() / 255
    images = torch.stack([photo, torch.rand(120, 120), photo.flip(1)]).unsqueeze(1)
    target = torch.tensor([[2, 0.25, 0.2, 0.75, 0.8], [0, 0, 0, 1, 1], [2, 0.25, 0.2, 0.75, 0.8]])
    net = HaarFaces(num_classes=3, scale_factor=1.2, smallest=40)
    before = net(images)
    assert before[:, :3].softmax(dim=1).allclose(torch.tensor(1 / 3))
    net.observe(images[:2], before[:2], target[:2])
    net.conclude()
    after = net(images).detach()
    assert after[:, :3].argmax(dim=1).tolist() == [2, 0, 2]
    torch.testing.assert_close(after[0, 3:], target[0, 1:])
    assert not bool(after[1, 3:].any()) and float(iou(after[2, 3:], target[2, 1:])) > 0.7
    assert bool(net(torch.rand(1, 1, 1, 1)).isfinite().all())


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: HogSVM(num_classes=2, side=30), "side=30.*cell=8"),
        (lambda: HogSVM(num_classes=2, background=0), "background=0"),
        (lambda: TemplateMatching(num_classes=2, scales=[]), "scales"),
        (lambda: TemplateMatching(num_classes=2, temperature=0), "temperature=0"),
        (lambda: HaarFaces(num_classes=2, scale_factor=1.0), "scale_factor=1.0"),
        (lambda: HaarFaces(num_classes=2, min_neighbors=0), "min_neighbors=0"),
        (lambda: HaarFaces(num_classes=2)(torch.rand(1, 2, 30, 30)), "data.channels=3"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_key(make, named):
    with pytest.raises(ValueError, match=named):
        make()
