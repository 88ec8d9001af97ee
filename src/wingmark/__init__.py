"""Facial landmark localisation: data sets, timm backbones, heads, losses and evaluation that can be trusted."""

from typing import Any

__all__ = ["LandmarkModule"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `wingmark.schema` alone should not wait for Lightning.
    if name == "LandmarkModule":
        from wingmark.model import LandmarkModule

        return LandmarkModule
    raise AttributeError(f"module 'wingmark' has no attribute {name!r}")
