"""What is needed to learn, never to route: tables of outcomes, training, evaluation."""
