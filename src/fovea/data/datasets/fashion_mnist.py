"""Load Fashion-MNIST from torchvision's folder layout."""

from __future__ import annotations

from typing import ClassVar

from fovea.data.datasets.mnist import MNIST


class FashionMNIST(MNIST):
    """Zalando's article images, the harder drop-in for MNIST.

    Splits: train 60,000 and test 10,000 grey images of 28×28, 10 balanced classes. Licence: MIT.
    Files: `root/FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`.
    Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017, arXiv:1708.07747.
    """

    name = "Fashion-MNIST"
    home: ClassVar[str] = "FashionMNIST"
    layout: ClassVar[str] = MNIST.layout.replace("MNIST", "FashionMNIST")
    page: ClassVar[str] = (
        "https://github.com/zalandoresearch/fashion-mnist, or the offline packages with `make assets`"
    )
    names: ClassVar[str] = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
