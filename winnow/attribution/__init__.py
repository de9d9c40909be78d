"""What a model's output owes to its inputs, its units and its weights: shared by compression and evaluation."""
