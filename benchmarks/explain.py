"""Time Grad-CAM and attention maps against plain passes of the same nets, one core, in turns; watch memory.

python benchmarks/explain.py
CPU time of one thread. Below its target, a ratio is fine; all readings are printed, the median counts.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import timm
import torch
import torch.nn.functional as F
from timm.layers import set_fused_attn

from fovea.explain.core.attention import capture
from fovea.explain.core.hooks import record
from fovea.explain.core.layers import cam_layer
from fovea.explain.methods.grad_cam import GradCAM


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(name, ours, floor, rounds, target=None):
    ours(), floor()
    pairs = [(seconds(ours), seconds(floor)) for _ in range(rounds)]
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    goal = f" (target {target})" if target else ""
    print(f"{name}\n  {a:.3f} / {b:.3f} s  ratio {statistics.median(ratios):.2f}{goal}", flush=True)
    print("  readings", " ".join(f"{r:.2f}" for r in ratios), flush=True)


def grad_cam(size, rounds):
    """Compare with a training step's passes, and with the least work that gives the same gradient."""
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=10).eval()
    image, label = torch.randn(32, 3, size, size), torch.randint(10, (32,))
    cam, layer = GradCAM(), cam_layer(net, image)

    def step():
        F.cross_entropy(net(image), label).backward()
        net.zero_grad()

    def least():
        with record(net, layer) as seen:
            score = net(image).amax(1).sum()
        torch.autograd.grad(score, seen[layer])

    what = f"Grad-CAM, ResNet-18, 32 images at {size}, ÷ one forward + backward "
    compare(f"{what}to all parameters", lambda: cam(net, image), step, rounds, 1.15)
    compare(f"{what}to {layer} alone", lambda: cam(net, image), least, rounds)


def attention(batch, rounds):
    """Compare capturing all maps with timm's unfused attention, which computes the same softmax."""
    torch.manual_seed(0)
    fused = timm.create_model("vit_tiny_patch16_224", num_classes=10).eval()
    set_fused_attn(False)
    unfused = timm.create_model("vit_tiny_patch16_224", num_classes=10).eval()
    set_fused_attn(True)
    unfused.load_state_dict(fused.state_dict())
    image = torch.randn(batch, 3, 224, 224)

    def maps():
        with torch.no_grad(), capture(fused) as found:
            fused(image)
        return found

    def plain(net):
        with torch.no_grad():
            return net(image)

    assert len(maps()) == 12 and torch.allclose(plain(fused), plain(unfused), atol=1e-4)
    what = f"all attention maps, ViT-Ti, {batch} images at 224, ÷ a plain "
    compare(f"{what}unfused forward", maps, lambda: plain(unfused), rounds, 1.5)
    compare(f"{what}fused forward", maps, lambda: plain(fused), rounds)


def memory(size):
    """Explain ever longer lists in batches of 32: the peak must not grow with the list."""
    net = timm.create_model("resnet18", num_classes=10).eval()
    cam, peaks = GradCAM(), {}
    for count in (64, 256):
        for _ in range(count // 32):
            cam(net, torch.randn(32, 3, size, size))
        peaks[count] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # it never falls
    found = ", ".join(f"{count} images {peak:.0f} MiB" for count, peak in peaks.items())
    print(f"peak resident memory of Grad-CAM, batches of 32: {found}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    memory(options.size)  # first: what runs before it would raise the peak
    grad_cam(options.size, options.rounds)
    attention(options.batch, options.rounds)


if __name__ == "__main__":
    main()
