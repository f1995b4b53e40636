from dataclasses import dataclass
import numpy as np


@dataclass(frozen=True)
class Outcomes:
    prompts: tuple
    models: tuple
    scores: np.ndarray
    output_tokens: np.ndarray
    cost: np.ndarray
    datasets: tuple
