"""Import the heavy libraries without what no run needs."""

from __future__ import annotations

import importlib
import sys
import types


def quick() -> None:
    """Import torchmetrics without scipy.signal, and with it scipy.stats and scipy.optimize: about a second.

    torchmetrics imports it at its top only to see whether it has `hamming`; whoever needs the real module
    later gets it as usual.
    """
    if "torchmetrics" in sys.modules or "scipy.signal" in sys.modules:
        return
    stand_in = types.ModuleType("scipy.signal")
    stand_in.hamming = None  # type: ignore[attr-defined]
    sys.modules["scipy.signal"] = stand_in
    try:
        importlib.import_module("torchmetrics")
    finally:
        del sys.modules["scipy.signal"]
        vars(sys.modules.get("scipy", stand_in)).pop("signal", None)
