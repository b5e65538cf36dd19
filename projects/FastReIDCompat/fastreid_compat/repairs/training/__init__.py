"""Repairs of trainer, optimizer, schedules, hooks, mixed precision and resuming."""
