"""What users write: formulas, functions, and the models and equations made of them."""

from gradfit.models._formula import RESERVED, Expression, parse, parse_equation

__all__ = ["RESERVED", "Expression", "parse", "parse_equation"]
