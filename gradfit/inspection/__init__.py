"""What a fit is worth: uncertainty, reports, plots."""
