"""What was spent, and what other ways to route would have cost."""
