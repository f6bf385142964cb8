"""Quality rules, and the kernels that count what they ask for."""
