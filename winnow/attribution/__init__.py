"""What a model's output is due to: gradients, relevance, perturbations; shared by compression and evaluation."""
