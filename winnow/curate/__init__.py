"""From raw tables to data worth training on: what is kept, what is dropped and why, and how it is split."""
