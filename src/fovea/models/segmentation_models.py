"""Provide the nets of segmentation-models-pytorch on any encoder of timm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from fovea.models._checks import check_images
from fovea.models._weights import load_weights
from fovea.models.strided_maps import copy_values, fixed_size, numbers, whole_net
from fovea.models.weights_file import State, holds
from fovea.ops.mirror import on_multiples


class EncoderDecoder(nn.Module):
    """Build an architecture of segmentation-models-pytorch whose encoder is timm's net `encoder`.

    Images of any size are mirrored to multiples of 32, and logits cropped back. The library itself never
    downloads: weights of the encoder come the way of `fovea.models.timm.create`.

    Args:
        arch: such as `segmentation_models_pytorch.Unet`, with its options for the decoder.
        encoder: may carry the tag of its weights: `mobilenetv2_100.tv_in1k`, `resnet34.a1_in1k`.
        checkpoint: a file of this whole net, perhaps for other classes or with the library's own encoder,
            or of the encoder's net alone.
        image_size: the size of the images, for encoders that are built for one.
    """

    def __init__(
        self,
        *,
        arch: Callable[..., Any],
        encoder: str,
        num_classes: int,
        in_channels: int = 3,
        pretrained: bool = False,
        checkpoint: str | None = None,
        image_size: int | Sequence[int] | None = None,
    ) -> None:
        saved = checkpoint is not None and holds(checkpoint, "segmentation_head")
        size = fixed_size(encoder, image_size)
        whole = whole_net(
            encoder,
            in_channels=in_channels,
            image_size=size,
            pretrained=pretrained and not saved,
            checkpoint=None if saved else checkpoint,
        )
        options = {"img_size": size} if size else {}
        super().__init__()
        self.model = _build(arch, encoder, in_channels=in_channels, classes=num_classes, **options)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.pretrained_cfg = whole.pretrained_cfg
        part: Any = self.model.encoder.model  # type: ignore[union-attr]
        copy_values(whole, part)
        self._numbers = numbers(whole, part)
        if saved:
            head = ["segmentation_head"]
            load_weights(self.model, checkpoint, head=head, prepare=_as_of_timm)  # type: ignore[arg-type]

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        """Return decoder and last layer: all that is new where the encoder is trained already."""
        return self.model.decoder, self.model.segmentation_head  # type: ignore[return-value]

    def group_matcher(self, coarse: bool = False) -> Callable[[str], float]:
        """Number the layer of each parameter of the encoder, as its net does; the rest is the head."""
        found = self._numbers[coarse]
        return lambda name: float(found.get(name.removeprefix("model.encoder.model."), "inf"))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes, H, W)."""
        check_images(x, net="this net", channels=self.in_channels, smallest=1)
        return on_multiples(self.model, x, multiple=32)


def _as_of_timm(state: State) -> State:
    """Rename the tensors of the library's own encoders, `encoder.*`, to timm's: `encoder.model.*`."""
    if any(name.startswith("encoder.model.") for name in state):
        return state
    return {f"encoder.model.{k.removeprefix('encoder.')}" if k.startswith("encoder.") else k: v
            for k, v in state.items()}  # fmt: skip


def _build(arch: Callable[..., Any], encoder: str, **options: Any) -> nn.Module:
    try:
        return arch(encoder_name=f"tu-{encoder.partition('.')[0]}", encoder_weights=None, **options)
    except ValueError as error:
        raise ValueError(
            f"encoder={encoder}: {error} Choose a net whose maps have half the side each time, such as "
            "resnet34, mobilenetv2_100 or pvt_v2_b0"
        ) from error
