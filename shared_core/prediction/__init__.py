"""How well each candidate would answer, told before any of them is called."""
