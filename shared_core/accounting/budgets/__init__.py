"""What may be spent: budgets, what a call can take at most, and the stores that keep both."""
