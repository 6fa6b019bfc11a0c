"""Style transfer: paint the content of one picture in the style of another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fovea.ops.style_losses import content_loss, gram, style_loss, total_variation
from fovea.optim.finetune import Finetune
from fovea.tasks.base import Task
from fovea.types import Batch, Output

Features = dict[str, Tensor]
STARTS = ("content", "noise")


class StyleTransfer(Task):
    """Minimise content_weight L_content + style_weight L_style + tv_weight L_tv over the pixels of an image.

    Gatys, Ecker & Bethge 2016, "Image style transfer using convolutional neural networks" (CVPR), eq. 7. The
    limits are feature inversion (style_weight 0: Mahendran & Vedaldi 2015, arXiv 1412.0035) and texture
    synthesis (content_weight 0: Gatys et al. 2015, arXiv 1505.07376), both from noise.

    The first training image of the data is the content, the second the style; both are read once, and a
    batch only says that it is time for a step. `net` holds the image; nothing else in it trains.

    Args:
        start: content, or noise, which `seed` decides.
    """

    content: Tensor
    style: Tensor

    def __init__(
        self,
        *,
        net: nn.Module,
        content_weight: float = 1.0,
        style_weight: float = 1.0,
        tv_weight: float = 0.0,
        start: str = "content",
        **kwargs: Any,
    ) -> None:
        # whatever finetune= says, the weights of the network stay frozen
        super().__init__(net=net, **{**kwargs, "finetune": Finetune(unfreeze_epoch=None, head=("image",))})
        if start not in STARTS:
            raise ValueError(f"task.start={start!r} is unknown: choose one of {', '.join(STARTS)}")
        self.weights = {"content": content_weight, "style": style_weight, "tv": tv_weight}
        _check(self.weights, net)
        self.start = start
        self._wanted: tuple[Features, Features] | None = None
        self._counted = False

    def setup(self, stage: str) -> None:
        """Take content and style from the data; a new fit starts from the content where it should."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        for name, index in (("content", 0), ("style", 1)):
            picture = data.preprocess(data.train.load(index)["image"])  # (1, C, H, W)
            self.register_buffer(name, picture.to(self.device), persistent=False)
        self._wanted = None
        if stage == "fit" and self.start == "content":
            self.net.put(self.content)  # type: ignore[operator]

    def step(self, batch: Batch) -> Output:
        """Return the weighted loss of the image as it is now, and its parts before the weights."""
        if self._wanted is None:
            self._wanted = self._targets()
        image: Tensor = self.net.render()  # type: ignore[operator]
        found = {k: v.float() for k, v in self(image).items()}  # half precision would round the sums
        content, style = self._wanted
        nothing = image.new_zeros(())
        parts = {
            "content": content_loss(found, content) if content else nothing,
            "style": style_loss(found, style) if style else nothing,
            "tv": total_variation(image),
        }
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return {"loss": total, **{f"loss_{k}": v for k, v in parts.items()}}  # type: ignore[typeddict-item]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Note that nothing of this step is recorded yet."""
        self._counted = False

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss; L-BFGS asks several times in a step, of which the first is recorded."""
        output = self.step(batch)
        if not self._counted:
            self._record("train", batch, output)
            self._counted = True
        self._watch(output["loss"])
        return output["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Clip the image to valid colours."""
        self.net.clip()  # type: ignore[operator]

    def picture(self, of: Tensor | None = None) -> Tensor:
        """Return the image, or another of its kind (1, C, H, W), as uint8 (H, W, C)."""
        return self.net.shown(self.net.render() if of is None else of).cpu()  # type: ignore[operator]

    def _groups(self) -> list[dict[str, Any]]:
        net: Any = self.net
        return [{"params": list(net.image), "lr": self.lr, "name": "image"}]

    def _targets(self) -> tuple[Features, Features]:
        """Return the targets: the features of the content, the Gram matrices of the style."""
        net: Any = self.net
        with torch.inference_mode(False), torch.no_grad():  # kept for training, also where a test comes first
            content = self(self.content.clone()) if self.weights["content"] else {}
            style = self(self.style.clone()) if self.weights["style"] else {}
        return (
            {k: content[k].float() for k in net.content_layers if k in content},
            {k: gram(style[k].float()) for k in net.style_layers if k in style},
        )


def _check(weights: dict[str, float], net: Any) -> None:
    if not hasattr(net, "content_layers"):
        raise ValueError(
            "task=style_transfer paints an image, which model= does not hold: start from "
            "experiment=style_transfer, or choose model=pixel_image"
        )
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ValueError(f"task.{name}_weight={weight} must be a number of at least 0")
        if weight and name != "tv" and not getattr(net, f"{name}_layers"):
            raise ValueError(
                f"task.{name}_weight={weight}, but model.net.{name}_layers=[]: name a layer, give null to "
                f"have them chosen, or set task.{name}_weight=0"
            )
    if not weights["content"] and not weights["style"]:
        raise ValueError(
            "task.content_weight=0 and task.style_weight=0 leave nothing to minimise: raise one of them"
        )
