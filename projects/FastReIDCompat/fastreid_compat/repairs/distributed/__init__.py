"""Repairs of launching and collectives."""
