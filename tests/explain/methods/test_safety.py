"""Every method that gives maps leaves the net, the images and the state of torch as they were."""

import shutil
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn

from fovea.explain.core.targets import ClassScore
from fovea.explain.methods.cam import CAM
from fovea.explain.methods.class_attention import ClassAttention
from fovea.explain.methods.deconvnet import Deconvnet
from fovea.explain.methods.eigen_cam import EigenCAM
from fovea.explain.methods.grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from fovea.explain.methods.guided_backprop import GuidedBackprop, GuidedGradCAM
from fovea.explain.methods.integrated_gradients import IntegratedGradients
from fovea.explain.methods.occlusion import Occlusion
from fovea.explain.methods.relevance import Relevance
from fovea.explain.methods.rollout import GradientRollout, Rollout
from fovea.explain.methods.saliency import InputTimesGradient, Saliency
from fovea.explain.methods.score_cam import ScoreCAM
from fovea.explain.methods.smooth_grad import SmoothGrad
from fovea.models.cnn import CNN
from fovea.models.vit import ViT

SIDE = 16
BOTH = {
    "grad_cam": GradCAM(),
    "grad_cam_plus_plus": GradCAMPlusPlus(),
    "layer_cam": LayerCAM(),
    "score_cam": ScoreCAM(),
    "eigen_cam": EigenCAM(),
    "saliency": Saliency(),
    "smooth_grad": SmoothGrad(samples=2),
    "input_times_gradient": InputTimesGradient(),
    "integrated_gradients": IntegratedGradients(steps=2),
    "guided_backprop": GuidedBackprop(),
    "guided_grad_cam": GuidedGradCAM(),
    "deconvnet": Deconvnet(),
    "occlusion": Occlusion(window=8, stride=8),
}
ATTENTION = {
    "class_attention": ClassAttention(),
    "rollout": Rollout(),
    "gradient_rollout": GradientRollout(),
    "relevance": Relevance(),
}
NETS = {
    "cnn": partial(CNN, num_classes=3, widths=(4, 6), stage_depth=1),
    "vit": partial(ViT, num_classes=3, image_size=SIDE, patch_size=4, dim=8, depth=2, heads=2),
}
CASES = [("cnn", m) for m in ("cam", *BOTH)] + [("vit", m) for m in (*BOTH, *ATTENTION)]
METHODS = {"cam": CAM()} | BOTH | ATTENTION
UNTARGETED = ("eigen_cam", "class_attention", "rollout")
cases = pytest.mark.parametrize(("name", "method"), CASES)


class Fuse(nn.Module):
    """Pass on what a module gives, until it fails in a call that was set."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, None

    def forward(self, x):
        if self.calls is not None:
            self.calls -= 1
            if self.calls < 0:
                raise RuntimeError("blown")
        return self.inner(x)


def made(name, *, mixed=True):
    """Build a net in the middle of training: some parts frozen, some in evaluation, with gradients."""
    torch.manual_seed(0)
    net = NETS[name]()
    if name == "cnn":
        net.stages = Fuse(net.stages)
    else:
        net.blocks[1].norm2 = Fuse(net.blocks[1].norm2)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    if mixed:
        net.train()
        for i, module in enumerate(net.modules()):
            module.training = i % 3 > 0
        for i, parameter in enumerate(net.parameters()):
            parameter.requires_grad_(i % 2 == 0)
            parameter.grad = torch.randn_like(parameter) if i % 4 == 0 else None
    return net if mixed else net.eval()


def images(count=2):
    drawn = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(drawn, (SIDE, SIDE), mode="bicubic")


HOOKS = [key for key in vars(nn.Module()) if "hooks" in key]


def traces(net):
    """Return what must be the same objects with the same values afterwards."""
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return (
        {k: (id(v), v.requires_grad, id(v.grad), v._version) for k, v in tensors.items()},
        {k: (v.detach().clone(), None if v.grad is None else v.grad.clone()) for k, v in tensors.items()},
        [(type(m), m.training, "forward" in vars(m)) for m in net.modules()],
        [[len(getattr(m, key)) for key in HOOKS] for m in net.modules()],
        (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch._C._len_torch_function_stack()),
        torch.get_rng_state().tolist(),
    )


def same(now, before):
    assert now[0] == before[0] and now[2:] == before[2:]
    for path, (value, gradient) in now[1].items():
        was, had = before[1][path]
        assert torch.equal(value, was), path
        assert gradient is had is None or torch.equal(gradient, had), path


@cases
def test_all_is_as_it_was(name, method):
    expected = METHODS[method](made(name, mixed=False), images())
    net, x = made(name), images()
    before, kept = traces(net), x.clone()
    found = METHODS[method](net, x, ClassScore([2, 0]))
    same(traces(net), before)
    assert torch.equal(x, kept) and not x.requires_grad and x.grad is None
    assert found.shape == (2, SIDE, SIDE) and not found.requires_grad and found.dtype == torch.float32
    torch.testing.assert_close(METHODS[method](net, x), expected)


@pytest.mark.slow
@cases
@pytest.mark.parametrize("calls", [0, 1])
def test_all_is_as_it_was_after_an_error_within_the_net(name, method, calls):
    net = made(name)
    before = traces(net)
    fuse = next(m for m in net.modules() if isinstance(m, Fuse))
    fuse.calls = calls
    try:
        METHODS[method](net, images(), ClassScore(1))
    except (RuntimeError, ValueError) as error:
        assert "blown" in str(error)
        fuse.calls = None
    else:
        assert calls, "the net did not run"
    same(traces(net), before)


@cases
def test_all_is_as_it_was_after_an_error_of_the_target(name, method):
    if method in UNTARGETED:
        return
    net = made(name)
    before = traces(net)

    def wrong(output):
        raise OverflowError("no score")

    with pytest.raises(OverflowError, match="no score"):
        METHODS[method](net, images(), wrong)
    same(traces(net), before)


@pytest.mark.slow
@cases
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off_and_on_frozen_nets(name, method, context):
    expected = METHODS[method](made(name, mixed=False), images())
    net = made(name).requires_grad_(False)
    before = traces(net)
    with context():
        found = METHODS[method](net, images())
    same(traces(net), before)
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
@cases
@pytest.mark.parametrize("way", ["net", "autocast"])
def test_maps_of_half_precision_are_finite_floats_and_near_the_full_ones(name, method, way):
    full = METHODS[method](made(name, mixed=False), images(), ClassScore(1))
    net, x = made(name, mixed=False), images()
    if way == "net":
        net, x = net.bfloat16(), x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16) if way == "autocast" else nullcontext():
        found = METHODS[method](net, x, ClassScore(1))
    assert found.dtype == torch.float32 and found.isfinite().all()
    if name == "cnn":  # the random transformer tells the classes apart by less than rounding
        assert torch.corrcoef(torch.stack([found.flatten(), full.flatten()]))[0, 1] > 0.9


@pytest.mark.slow
@cases
@pytest.mark.parametrize("way", ["wrapped", "in place"])
def test_compiled_nets_have_the_same_maps(name, method, way):
    expected = METHODS[method](made(name, mixed=False), images())
    net = made(name, mixed=False)
    if way == "wrapped":
        net = torch.compile(net, backend="eager")
    else:
        net.compile(backend="eager")
    output = net(images())
    before = traces(net)
    found = METHODS[method](net, images())
    same(traces(net), before)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(net(images()), output)


@pytest.mark.slow
@cases
def test_channels_last_makes_no_difference(name, method):
    net = made(name, mixed=False)
    expected = METHODS[method](net, images())
    last = made(name, mixed=False).to(memory_format=torch.channels_last)
    found = METHODS[method](last, images().contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_maps_of_a_net_that_inductor_compiled():
    net, x = made("cnn", mixed=False), images()
    compiled = torch.compile(net)
    torch.testing.assert_close(compiled(x), net(x), atol=1e-4, rtol=1e-4)
    for method in (GradCAM(), GuidedBackprop(), IntegratedGradients(steps=2)):
        torch.testing.assert_close(method(compiled, x), method(net, x), atol=1e-4, rtol=1e-4)
