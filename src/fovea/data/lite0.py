"""Rename the published weights of EfficientNet-Lite0 to timm's names."""

from __future__ import annotations

from typing import Any

OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each stage of EfficientNet-Lite0


def rename_lite0(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the parameters of the published weights to timm's names."""
    places = [f"blocks.{s}.{j}" for s, depth in enumerate(DEPTHS) for j in range(depth)]
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            number = int(parts[1])
            parts = [places[number], (INNER if number else FIRST)[parts[2]], *parts[3:]]
        else:
            parts = [OUTER[parts[0]], *parts[1:]]
        renamed[".".join(parts)] = value
    return renamed


def is_lite0(state: dict[str, Any]) -> bool:
    """Tell whether timm's network takes exactly these parameters, by name and shape."""
    import timm

    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    shapes = {key: value.shape for key, value in expected.items()}
    return {key: value.shape for key, value in state.items()} == shapes
