"""Levenberg-Marquardt over batches of small problems: curves and equation systems."""
