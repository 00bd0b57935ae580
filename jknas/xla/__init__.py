"""What XLA needs from us: choices, fences, interception, compiled programs, and a check that it computes correctly."""
