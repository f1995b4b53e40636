"""PLACEHOLDER until measured weights."""

from __future__ import annotations

import math


def surface_features(text: str) -> dict[str, float]:
    return {"length": min(1.0, math.log1p(len(text)) / 8)}


def difficulty(features: dict[str, float]) -> float:
    return features["length"]
