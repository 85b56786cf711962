"""What is minimized: sums over rows, quadratic forms, functions, batches of residuals."""
