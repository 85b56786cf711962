"""Pointwise losses: one TensorFlow expression each, and the facts that belong to it."""

from gradfit.losses._classification import BinaryLogLoss, LabelLogLoss, MultinomialLogLoss
from gradfit.losses._glm import Gamma, NegativeBinomial, Poisson, Tweedie
from gradfit.losses._loss import CustomLoss, Loss
from gradfit.losses._regression import AbsoluteError, Huber, Quantile, SquaredError

__all__ = [
    "AbsoluteError",
    "BinaryLogLoss",
    "CustomLoss",
    "Gamma",
    "Huber",
    "LabelLogLoss",
    "Loss",
    "MultinomialLogLoss",
    "NegativeBinomial",
    "Poisson",
    "Quantile",
    "SquaredError",
    "Tweedie",
]
