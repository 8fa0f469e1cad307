"""Gumbel-Softmax samples of a class prior."""
