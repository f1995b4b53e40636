"""Who may answer, and who does: candidates, capabilities, policy."""
