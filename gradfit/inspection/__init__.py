"""What a fit is worth: uncertainty, reports, plots."""

from gradfit.inspection._inference import inference
from gradfit.inspection._result import Inference

__all__ = ["Inference", "inference"]
