"""From a decision to calls: generators that do no I/O."""
