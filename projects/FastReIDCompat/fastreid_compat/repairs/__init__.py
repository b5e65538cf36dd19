"""Repairs of FastReID 1.4.0, in folders by what they repair."""
